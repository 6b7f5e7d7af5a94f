"""Directories that are published whole or not at all; killed more often in tests/storm/."""

import json
import os
import stat
from pathlib import Path

import pytest

from tests.inputs import tiny
from tests.processes.killed_publishers import assert_whole_or_nothing
from trainer.process.errors import UserError
from trainer.storage import api as storage


@pytest.fixture
def published(tmp_path):
    files = {"a.bin": b"123456789", "sub/b.txt": b"", ".hidden": b""}
    scratch = str(tiny.write_files(tmp_path / "scratch", files))
    directory = str(tmp_path / "runs" / "größe 1" / "step_1")
    storage.publish(scratch, directory, {"step": 1})
    return Path(directory)


def test_publish(published):
    manifest = storage.read_manifest(published)
    assert manifest == storage.Manifest(
        # e3069283 is CRC-32C's check value: https://reveng.sourceforge.io/crc-catalogue/
        files={
            ".hidden": {"size": 0, "crc32c": "00000000"},
            "a.bin": {"size": 9, "crc32c": "e3069283"},
            "sub/b.txt": {"size": 0, "crc32c": "00000000"},
        },
        facts={"step": 1},
    )
    assert (published / "a.bin").read_bytes() == b"123456789"
    assert storage.verify(published, manifest) is None
    assert json.loads((published / storage.MANIFEST).read_text())["facts"] == {"step": 1}


def test_publish_replaces_as_a_whole(published, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "new").write_bytes(b"new")
    manifest = storage.publish(str(tmp_path / "other"), str(published), {"step": 2})
    assert sorted(os.listdir(published)) == [storage.MANIFEST, "new"]
    assert storage.read_manifest(published) == manifest
    assert (tmp_path / "other" / "new").exists()


def test_the_manifest_is_written_last(published, tmp_path, monkeypatch):
    files = {f"{name}/data": b"1" for name in "abc"}
    scratch = tiny.write_files(tmp_path / "other", files)
    there = []

    def noted(descriptor):
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        there.append((Path(name).name == "data", (published / storage.MANIFEST).exists()))
        fsync(descriptor)

    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", noted)
    storage.publish(str(scratch), str(published), {"step": 2})
    assert [has_manifest for is_data, has_manifest in there if is_data] == [False] * 3
    # The last two are of the manifest, under another name, and of the directory with its own.
    assert [has_manifest for _, has_manifest in there][-2:] == [False, True]


def flip(path):
    content = bytearray(path.read_bytes())
    content[4] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("do", "words"),
    [
        (flip, "a.bin: checksum mismatch"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "a.bin: 8 bytes instead of 9"),
        (lambda path: path.write_bytes(path.read_bytes() + b"0"), "a.bin: 10 bytes instead of 9"),
        (lambda path: path.unlink(), "a.bin: No such file or directory"),
    ],
)
def test_damage_is_found_and_named(published, do, words):
    do(published / "a.bin")
    manifest = storage.read_manifest(published)
    assert manifest is not None
    found = storage.verify(published, manifest)
    assert found == f"{published}/{words}"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"files": 3, "facts": {}}', b"\xff"]
)
def test_what_cannot_be_read_is_no_manifest(published, content):
    (published / storage.MANIFEST).write_bytes(content)
    assert storage.read_manifest(published) is None


def test_a_manifest_with_a_flipped_bit_is_none(published):
    content = (published / storage.MANIFEST).read_bytes()
    assert content.count(b'"step": 1') == 1
    (published / storage.MANIFEST).write_bytes(content.replace(b'"step": 1', b'"step": 3'))
    assert storage.read_manifest(published) is None


def test_no_manifest(tmp_path):
    (tmp_path / "file").write_text("")
    assert storage.read_manifest(tmp_path) is None
    assert storage.read_manifest(tmp_path / "absent") is None
    assert storage.read_manifest(tmp_path / "file") is None


def test_remove(published):
    storage.remove(published)
    assert not published.exists()
    storage.remove(published)


def test_list_names(tmp_path):
    assert storage.list_names(tmp_path / "absent") == []
    for name in ("b", "a", ".c"):
        (tmp_path / name).mkdir()
    assert storage.list_names(tmp_path) == [".c", "a", "b"]


@pytest.mark.integration
def test_what_a_kill_leaves_is_whole_or_nothing(tmp_path, rng):
    assert_whole_or_nothing(tmp_path, 3, rng)


def test_write_atomically(tmp_path):
    path = tmp_path / "new" / "file"
    storage.write_atomically(str(path), b"one")
    storage.write_atomically(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["file"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_write_atomically_leaves_the_old_content_where_it_fails(tmp_path):
    (tmp_path / "file").mkdir()  # cannot be replaced by a file
    with pytest.raises(UserError, match="Is a directory"):
        storage.write_atomically(str(tmp_path / "file"), b"one")
    assert os.listdir(tmp_path) == ["file"]


def test_write_json(tmp_path):
    storage.write_json(str(tmp_path / "f.json"), {"b": "ü", "a": [1.5]})
    text = (tmp_path / "f.json").read_text(encoding="utf-8")
    assert text == '{\n  "b": "ü",\n  "a": [\n    1.5\n  ]\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.write_json(str(tmp_path / "f.json"), float("nan"))


def test_ensure_directory(tmp_path):
    storage.ensure_directory(str(tmp_path / "a" / "b"), "workdir")
    assert os.listdir(tmp_path / "a" / "b") == []


def test_ensure_directory_refuses(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for path, cause in ((file, "File exists"), (file / "below", "Not a directory")):
        with pytest.raises(UserError) as caught:
            storage.ensure_directory(str(path), "workdir")
        assert str(caught.value) == f"--workdir={path}: must be a writable directory ({cause})"
    with pytest.raises(UserError, match=r"--workdir=s3://b/run: must be a local directory or gs:"):
        storage.ensure_directory("s3://b/run", "workdir")
