"""Storage in a bucket, on the emulator, with every fault the proxy knows."""

import os
import random
from pathlib import Path

import pytest

from tests.inputs import tiny
from trainer.process.errors import StorageUnreachable, UserError
from trainer.storage import api as storage
from trainer.storage import gcs_client

DIRECTORY = "gs://bucket/runs/größe 1/step_1"
SMALL = {"a.bin": b"123456789", "sub/b.txt": b"", ".hidden": b""}
LARGE = random.Random(0).randbytes(9_000_000)  # above 8 MiB an upload has a session


@pytest.fixture
def scratch(tmp_path):
    return tiny.write_files(tmp_path / "scratch", SMALL)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(gcs_client, "RETRY_SECS", 8.0)


def test_publish(gcs, scratch):
    manifest = storage.publish(str(scratch), DIRECTORY, {"step": 1})
    assert storage.read_manifest(DIRECTORY) == manifest
    assert manifest.facts == {"step": 1}
    without_generation = {
        name: {k: v for k, v in file.items() if k != "generation"}
        for name, file in manifest.files.items()
    }
    assert without_generation == {
        ".hidden": {"size": 0, "crc32c": "00000000"},
        "a.bin": {"size": 9, "crc32c": "e3069283"},
        "sub/b.txt": {"size": 0, "crc32c": "00000000"},
    }
    for name, file in manifest.files.items():
        assert gcs.bucket.get_blob(f"runs/größe 1/step_1/{name}").generation == file["generation"]
    assert storage.verify(DIRECTORY, manifest) is None
    with storage.local_copy(DIRECTORY, manifest) as copy:
        for name, content in SMALL.items():
            assert Path(copy, name).read_bytes() == content
    assert not os.path.exists(copy)


def test_publish_replaces_as_a_whole(gcs, scratch, tmp_path):
    storage.publish(str(scratch), DIRECTORY, {"step": 1})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.bin").write_bytes(b"new")
    manifest = storage.publish(str(tmp_path / "other"), DIRECTORY, {"step": 2})
    assert gcs.names() == [f"runs/größe 1/step_1/{n}" for n in (storage.MANIFEST, "a.bin")]
    assert storage.read_manifest(DIRECTORY) == manifest


def test_requests_of_a_checkpoint(gcs, tmp_path):
    """15 MB and an index: what one costs to publish, and to restore where others are."""
    (tmp_path / "variables.data-00000-of-00001").write_bytes(random.Random(1).randbytes(15 << 20))
    (tmp_path / "variables.index").write_bytes(b"index")
    storage.publish(str(tmp_path), "gs://bucket/run/checkpoints/step_1", {})
    gcs.proxy.reset()
    storage.publish(str(tmp_path), "gs://bucket/run/checkpoints/step_2", {})
    assert gcs.proxy.count(matching="/o") == 5  # list, session, data, index, manifest
    assert gcs.proxy.bytes_received() < (15 << 20) + 5000
    gcs.proxy.reset()
    name = storage.list_names("gs://bucket/run/checkpoints")[-1]
    directory = f"gs://bucket/run/checkpoints/{name}"
    manifest = storage.read_manifest(directory)
    assert manifest is not None
    with storage.local_copy(directory, manifest) as copy:
        size = os.path.getsize(os.path.join(copy, "variables.data-00000-of-00001"))
    assert (name, size) == ("step_2", 15 << 20)
    assert gcs.proxy.count(matching="/o") == 4  # list, manifest, data, index


# One of each kind: answered, never heard of, done without an answer, arrived damaged.
FAULTS = ("503", "reset", "lost", "crc")  # the others: tests/storm/gcs_storage_test.py


@pytest.mark.parametrize("fault", FAULTS)
def test_publish_survives_a_fault_of_each_kind_anywhere(gcs, scratch, fault):
    assert_published_for_all(fault, gcs, scratch)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_restore_survives_a_fault_of_each_kind_anywhere(gcs, scratch, fault):
    assert_restored_for_all(fault, gcs, scratch)


def assert_published_for_all(fault, gcs, scratch):
    """Each request of a publication fails once."""
    (scratch / "large").write_bytes(LARGE)
    storage.publish(str(scratch), DIRECTORY, {})
    for number in range(gcs.proxy.count()):
        gcs.clear()
        gcs.proxy.plan = lambda request, number=number: fault if request.number == number else None
        manifest = storage.publish(str(scratch), DIRECTORY, {"number": number})
        gcs.proxy.reset()
        assert storage.read_manifest(DIRECTORY) == manifest
        assert storage.verify(DIRECTORY, manifest) is None
        assert gcs.read("runs/größe 1/step_1/large") == LARGE


def assert_restored_for_all(fault, gcs, scratch):
    """Each request of a restore fails once."""
    (scratch / "large").write_bytes(LARGE)
    storage.publish(str(scratch), DIRECTORY, {})
    for number in range(5):
        gcs.proxy.reset()
        gcs.proxy.plan = lambda request, number=number: fault if request.number == number else None
        assert storage.list_names("gs://bucket/runs/größe 1") == ["step_1"]
        manifest = storage.read_manifest(DIRECTORY)
        assert manifest is not None
        with storage.local_copy(DIRECTORY, manifest) as copy:
            assert Path(copy, "large").read_bytes() == LARGE
        assert gcs.proxy.count() > number


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda gcs, name: gcs.write(name, b"123456780"), "checksum mismatch"),
        (lambda gcs, name: gcs.write(name, b"12345678"), "8 bytes instead of 9"),
        (lambda gcs, name: gcs.bucket.blob(name).delete(), "is missing"),
    ],
)
def test_damage_is_found_and_named(gcs, scratch, spoil, words):
    manifest = storage.publish(str(scratch), DIRECTORY, {})
    spoil(gcs, "runs/größe 1/step_1/a.bin")
    assert storage.verify(DIRECTORY, manifest) == f"{DIRECTORY}/a.bin: {words}"
    # The generation is another one, and the manifest's is gone.
    with pytest.raises(storage.ChecksumMismatch, match=r"step_1/a.bin: is missing"):
        storage.local_copy(DIRECTORY, manifest).__enter__()


def test_what_always_arrives_damaged_is_damaged(gcs, scratch):
    manifest = storage.publish(str(scratch), DIRECTORY, {})
    gcs.proxy.plan = lambda request: "crc" if "a.bin" in request.target else None
    with pytest.raises(storage.ChecksumMismatch, match=r"a.bin: checksum mismatch in transfer"):
        storage.local_copy(DIRECTORY, manifest).__enter__()


@pytest.mark.parametrize("content", [b"", b"{", b'{"files": {}, "facts": {}}', b"\xff"])
def test_what_cannot_be_read_is_no_manifest(gcs, content):
    gcs.write("run/MANIFEST.json", content)
    assert storage.read_manifest("gs://bucket/run") is None
    assert storage.read_manifest("gs://bucket/absent") is None


def test_remove_takes_the_manifest_first(gcs, scratch):
    storage.publish(str(scratch), DIRECTORY, {})
    gcs.proxy.reset()
    storage.remove(DIRECTORY)
    deleted = [r.target.partition("?")[0][-8:] for r in gcs.proxy.requests if r.method == "DELETE"]
    assert deleted[0] == "EST.json"
    assert len(deleted) == 4
    assert gcs.names() == []
    storage.remove(DIRECTORY)


def test_files(gcs):
    storage.write_json("gs://bucket/f.json", {"a": "ü"})
    storage.write_json("gs://bucket/f.json", {"a": 2})
    assert storage.read_bytes("gs://bucket/f.json") == b'{\n  "a": 2\n}\n'
    with pytest.raises(FileNotFoundError):
        storage.read_bytes("gs://bucket/absent")
    assert storage.list_names("gs://bucket") == ["f.json"]
    assert storage.list_names("gs://bucket/absent") == []


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("403", UserError, "has no permission to write; it needs storage.objects.create on gs://b"),
        ("503", StorageUnreachable, "cannot be reached to write, asked as nobody (anonymous)"),
        ("reset", StorageUnreachable, "cannot be reached to write"),
        ("429", UserError, "the quota of gs://bucket or of its project is used up"),
    ],
)
def test_a_fault_for_good_is_named_and_no_older_one_is_lost(
    gcs, scratch, monkeypatch, fault, kind, words
):
    monkeypatch.setattr(gcs_client, "RETRY_SECS", 1.0)
    older = storage.publish(str(scratch), DIRECTORY, {})
    gcs.proxy.plan = lambda request: fault if request.method == "POST" else None
    with pytest.raises(kind) as caught:
        storage.publish(str(scratch), "gs://bucket/runs/größe 1/step_2", {})
    assert words in str(caught.value)
    assert str(caught.value).startswith("gs://bucket/runs/größe 1/step_2: ")
    gcs.proxy.reset()
    assert storage.read_manifest("gs://bucket/runs/größe 1/step_2") is None
    assert storage.verify(DIRECTORY, older) is None


def test_another_writer_is_noticed(gcs, scratch):
    """Between our listing and our upload another process makes the same object."""
    other = lambda request: gcs.write("runs/größe 1/step_1/a.bin", b"other")  # noqa: E731
    gcs.proxy.plan = lambda request: (
        other(request) if request.method == "POST" and "a.bin" in str(request.body) else None
    )
    with pytest.raises(StorageUnreachable, match="does another process write here"):
        storage.publish(str(scratch), DIRECTORY, {})
    assert storage.read_manifest(DIRECTORY) is None


def test_no_bucket(gcs):
    with pytest.raises(UserError, match=r"gs:///x: names no bucket"):
        storage.list_names("gs:///x")
    with pytest.raises(UserError, match=r"is there a bucket gs://absent"):
        storage.write_json("gs://absent/x", 1)
