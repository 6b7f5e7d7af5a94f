"""Handles of every kind: directories, archives, addresses, what is embedded."""

import contextlib
import io
import os
import signal
import tarfile
import tempfile
import time

import numpy as np
import pytest
import tensorflow as tf

from tests.inputs.saved_models import load, tiny
from tests.processes import warm
from tests.processes.gates import DEADLINE_SECS
from trainer.models import handles
from trainer.process.errors import UserError
from trainer.storage import artifacts


def test_the_digest_names_the_files_that_are_loaded(tmp_path):
    handle = tiny(tmp_path / "model")
    digest = load(handle).digest
    assert len(digest) == 64
    (tmp_path / "model" / "notes.txt").write_text("mine")
    (tmp_path / "model").rename(tmp_path / "moved")
    assert load(str(tmp_path / "moved")).digest == digest
    data = tmp_path / "moved" / "variables" / "variables.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    assert handles.digest("model", str(tmp_path / "moved")) != digest


@pytest.mark.parametrize("top", [".", "a_directory"])
def test_an_archive_is_extracted_once(tmp_path, top):
    directory = tiny(tmp_path / "model")
    archive, cache = str(tmp_path / "model.tar.gz"), str(tmp_path / "cache")
    with tarfile.open(archive, "w:gz") as file:
        file.add(directory, arcname=top)
    loaded = load(archive, cache)
    assert loaded.digest == load(directory).digest
    assert loaded.path.startswith(cache)
    model = f"{loaded.path}/saved_model.pb"
    before = os.stat(model).st_ctime_ns
    assert load(archive, cache).path == loaded.path
    assert os.stat(model).st_ctime_ns == before
    assert len(os.listdir(cache)) == 1


def test_an_archive_cannot_write_outside_of_the_cache(tmp_path):
    archive = tmp_path / "evil.tgz"
    with tarfile.open(archive, "w:gz") as file:
        member = tarfile.TarInfo("../../escaped")
        member.size = 4
        file.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(UserError, match=r"cannot be extracted: .*outside the destination"):
        load(str(archive), str(tmp_path / "a" / "cache"))
    assert not (tmp_path / "escaped").exists()
    assert not (tmp_path / "a" / "escaped").exists()
    assert os.listdir(tmp_path / "a" / "cache") == []


@pytest.mark.parametrize("damage", ["truncated", "text"])
def test_a_damaged_archive_is_refused(tmp_path, damage):
    directory, archive = tiny(tmp_path / "model"), tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(directory, arcname=".")
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"not a tar")
    with pytest.raises(UserError, match=r"model\.tar\.gz: cannot be extracted"):
        load(str(archive), str(tmp_path / "cache"))
    assert os.listdir(tmp_path / "cache") == []


def test_an_address_without_a_network_is_refused_quickly(tmp_path, monkeypatch):
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    handle = "https://localhost:9/google/some_model/feature_vector/2"
    start = time.monotonic()
    with pytest.raises(UserError, match=rf"--backbone={handle}: cannot be fetched: .*refused"):
        load(handle, str(tmp_path))
    assert time.monotonic() - start < 20
    assert "TFHUB_CACHE_DIR" not in os.environ


def test_what_is_not_there_or_not_a_saved_model_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"--backbone=resnet: there is no .*resnet.*A handle is"):
        load("resnet")
    (tmp_path / "model.h5").write_text("")
    with pytest.raises(UserError, match="a file that is not an archive"):
        load(str(tmp_path / "model.h5"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"is not a SavedModel.*found nothing"):
        load(str(tmp_path / "empty"))
    (tmp_path / "empty" / "saved_model.pb").write_text("damaged")
    with pytest.raises(UserError, match="cannot be loaded"):
        load(str(tmp_path / "empty"))


def large(directory):
    tf.io.write_file(f"{directory}/file", "a" * 2**17)


@pytest.mark.integration
@pytest.mark.parametrize("write", [large, handles._write_embedded])
def test_a_full_disk_is_named_with_the_flag(small_disk, write):
    """What TensorFlow says of one; see storage.artifacts."""
    with pytest.raises(UserError, match=f"no space is left for {small_disk}/model; free some, or"):
        artifacts.get_or_create(str(small_disk), "model", write)
    assert os.listdir(small_disk) == []


WRITE = """
import pathlib, sys
from tests.inputs.saved_models import tiny
from trainer.models import handles
if sys.argv[2] == "tiny":
    handles._write_embedded = lambda directory: tiny(pathlib.Path(directory)) and None
print(handles.resolve("efficientnet_lite0", sys.argv[1]))
"""


@pytest.mark.integration
def test_a_kill_and_a_race_leave_one_whole_model(tmp_path, gates):
    model = model_of_a_kill_and_a_race(tmp_path / "cache", gates, "tiny")
    images = tf.random.stateless_uniform([1, 8, 6, 3], [1, 2])
    expected = load(tiny(tmp_path / "model"))(images)
    assert np.array_equal(load(model)(images), expected)


def model_of_a_kill_and_a_race(cache, gates, kind):
    """Let three processes write the embedded model at once, one of them to be killed."""
    # All three have written a model and are about to move it to its place.
    held = [gates("trainer.storage.artifacts:file_entries", 1) for _ in range(3)]
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in held]
        killed, *others = (
            warm.Process(
                [cache, kind],
                output,
                output,
                os.environ,
                prepare=gate,
                program=WRITE,
            )
            for gate, output in zip(held, outputs, strict=True)
        )
        for process in (killed, *others):
            stack.callback(process.kill)
        for gate in held:
            gate.wait(killed, *others)
        killed.kill()
        for gate in held[1:]:
            gate.open()
        assert [process.wait(DEADLINE_SECS) for process in others] == [0, 0]
        assert killed.wait(DEADLINE_SECS) == -signal.SIGKILL
        for output in outputs[1:]:
            output.seek(0)
        paths = {output.read().splitlines()[-1] for output in outputs[1:]}
    (abandoned,) = cache.glob(".graft-*")
    assert any(abandoned.glob("*/saved_model.pb"))
    (model,) = set(cache.iterdir()) - {abandoned}
    assert paths == {str(model)}
    return str(model)
