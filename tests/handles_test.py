"""Handles of every kind: directories, archives, addresses, what is embedded."""

import io
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
import tensorflow as tf

from tests.saved_models import load, tiny
from trainer.errors import UserError
from trainer.models import handles

ROOT = pathlib.Path(__file__).parents[1]


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
    before = os.stat(loaded.path).st_ctime_ns
    assert load(archive, cache).path == loaded.path
    assert os.stat(loaded.path).st_ctime_ns == before
    assert len(os.listdir(cache)) == 1


def test_what_a_killed_process_left_is_removed_after_a_while(tmp_path):
    cache, archive = tmp_path / "cache", str(tmp_path / "model.tar")
    for name in ("old.1-a.tmp", "young.2-b.tmp", "kept"):
        (cache / name).mkdir(parents=True)
        os.utime(cache / name, (0, 0) if name != "young.2-b.tmp" else None)
    with tarfile.open(archive, "w") as file:
        file.add(tiny(tmp_path / "model"), arcname=".")
    made = load(archive, str(cache)).path
    assert set(os.listdir(cache)) == {"young.2-b.tmp", "kept", os.path.basename(made)}


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


WRITE = "import sys; from trainer.models import handles; print(handles.resolve(*sys.argv[1:]))"


def start(*arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-c", WRITE, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_a_kill_and_a_race_leave_one_whole_model(tmp_path, cache_dir):
    with (
        start("efficientnet_lite0", str(tmp_path)) as killed,
        start("efficientnet_lite0", str(tmp_path)) as one,
        start("efficientnet_lite0", str(tmp_path)) as other,
    ):
        while not any(tmp_path.glob(f"*.{killed.pid}-*.tmp/*")):
            assert killed.poll() is None, "it was to be killed while it writes"
            time.sleep(0.001)
        killed.send_signal(signal.SIGKILL)
        paths = {process.communicate()[0].strip() for process in (one, other)}
    assert [one.returncode, other.returncode] == [0, 0]
    (abandoned,) = tmp_path.glob("*.tmp")
    (model,) = set(tmp_path.iterdir()) - {abandoned}
    assert paths == {str(model)}
    images = tf.random.stateless_uniform([1, 224, 224, 3], [1, 2])
    expected = load("efficientnet_lite0", cache_dir)(images)
    assert np.array_equal(load(str(model))(images), expected)
