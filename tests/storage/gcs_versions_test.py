"""Versions of objects: listed by few requests, replaced only where they are what was seen."""

import os

import pytest

from trainer.process.errors import UserError
from trainer.storage import api as storage
from trainer.storage import gcs_versions


def test_only_the_version_that_was_seen_is_replaced(gcs):
    path = "gs://bucket/run/.lease"
    with pytest.raises(FileNotFoundError):
        storage.read_newest(path)
    first = storage.replace_version(path, b"1", 0)
    assert storage.read_newest(path) == (b"1", first)
    assert first is not None
    assert storage.replace_version(path, b"2", 0) is None
    second = storage.replace_version(path, b"2", first)
    assert second is not None
    assert storage.replace_version(path, b"3", first) is None
    assert storage.read_newest(path) == (b"2", second)
    storage.remove_version(path, second)  # of another the emulator would, too: it compares nothing
    assert gcs.names() == []


def test_versions(gcs, monkeypatch, tmp_path):
    """By the fewest requests that tell: not of other directories, nor of what lies around."""
    monkeypatch.setattr(gcs_versions, "_RANGE_SIZE", 2)
    names = ["a/b.jpg", "a/ü.jpg", "a/x y.jpg", "a//twice.jpg", "top.jpg"]
    for name in [*names, "a/below/c.jpg", "a/a.jpg", "a/c.jpg"]:
        gcs.write(name, b"1")
    (tmp_path / "near.jpg").write_bytes(b"123")
    os.utime(tmp_path / "near.jpg", ns=(0, 5))
    local = [str(tmp_path / "near.jpg"), str(tmp_path / "gone.jpg"), "s3://bucket/far.jpg"]
    paths = [*(f"gs://bucket/{name}" for name in ["a/gone.jpg", *names]), *local]
    gcs.proxy.reset()
    before = storage.versions(paths)
    assert gcs.proxy.count(matching="/o?") == 4  # two stretches of a, a/, and the bucket itself
    generations = [str(gcs.bucket.get_blob(name).generation) for name in names]
    assert before == ["", *generations, "3 5", "", ""]
    gcs.write("a/ü.jpg", b"1")
    after = storage.versions(paths)
    assert [i for i in range(len(paths)) if before[i] != after[i]] == [2]


def test_versions_that_may_not_be_listed(gcs):
    gcs.proxy.plan = lambda request: "403"
    with pytest.raises(UserError, match=r"gs://bucket/a: .*it needs storage.objects.list on gs"):
        storage.versions(["gs://bucket/a/b.jpg"])
