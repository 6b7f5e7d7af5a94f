"""Parts of features on disk: exact, or named and not there."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from trainer.data.feature_store import FeatureShard, FeatureStore
from trainer.process.errors import UserError

ROWS, WIDTH = 5, 3


def part(seed=0, rows=ROWS):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, WIDTH)).astype(np.float32)
    features[0] = np.array([1e-45, -0.0, np.finfo(np.float32).max], np.float32)
    bad = {2: ("rot/größe 1.png", "an empty file"), 3: ("rot/2.png", 'not a "JPEG"\n')}
    return FeatureShard(features, np.arange(rows) % 3, bad)


@pytest.fixture
def store(tmp_path):
    store = FeatureStore(str(tmp_path / "größe 1" / "30-abc"), 2)
    for number in range(2):
        store.write(number, part(number))
    return store


def manifest(store, number=0):
    return Path(store.directory, f"part-{number:05d}-of-00002.json")


def data(store, number=0):
    return Path(store.data_path(number))


def read(store, number=0, rows=ROWS, width=WIDTH):
    return store.read(number, rows, width)


def assert_equal(found, expected):
    assert found.features.dtype == np.float32
    assert found.features.tobytes() == expected.features.tobytes()
    assert found.labels.dtype == np.int64
    assert found.labels.tolist() == expected.labels.tolist()
    assert found.bad_images == expected.bad_images


def test_what_is_written_is_read(store):
    for number in range(2):
        found, problem = read(store, number)
        assert problem == ""
        assert_equal(found, part(number))
        assert os.path.getsize(store.data_path(number)) == ROWS * WIDTH * 4
    assert len(os.listdir(store.directory)) == 4


def test_a_part_without_bad_images(store):
    plain = FeatureShard(part().features, part().labels, {})
    store.write(0, plain)
    assert_equal(read(store)[0], plain)


def test_what_was_never_written_is_no_problem(store, tmp_path):
    assert FeatureStore(store.directory, 3).read(0, ROWS, WIDTH) == (None, "")
    assert FeatureStore(str(tmp_path / "absent"), 2).read(0, ROWS, WIDTH) == (None, "")


def refused(store, *words, number=0, **shape):
    found, problem = read(store, number, **shape)
    assert found is None
    for word in words:
        assert str(word) in problem, problem


def test_every_flipped_byte_of_the_data_is_seen(store):
    path = data(store)
    whole = path.read_bytes()
    for index in range(len(whole)):
        content = bytearray(whole)
        content[index] ^= 1 << index % 8
        path.write_bytes(content)
        refused(store, path, "checksum mismatch")
    path.write_bytes(whole)
    assert_equal(read(store)[0], part())


@pytest.mark.parametrize("size", [0, 1, ROWS * WIDTH * 4 - 4, ROWS * WIDTH * 4 + 4])
def test_data_of_another_length_are_seen(store, size):
    path = data(store)
    whole = path.read_bytes()
    path.write_bytes((whole + bytes(4))[:size])
    refused(store, path, "checksum mismatch")


def test_data_that_are_gone_are_named(store):
    path = data(store, 1)
    path.unlink()
    refused(store, path, "No such file", number=1)
    assert_equal(read(store, 0)[0], part(0))


def test_every_flipped_bit_and_every_cut_of_the_manifest_is_seen(store):
    whole = manifest(store).read_bytes()
    for index in range(len(whole)):
        for bit in range(8):
            content = bytearray(whole)
            content[index] ^= 1 << bit
            manifest(store).write_bytes(content)
            found, problem = read(store)
            # What JSON reads as the same is the same: a space that became another one.
            if found is not None:
                assert json.loads(content) == json.loads(whole)
                continue
            assert str(manifest(store)) in problem
        manifest(store).write_bytes(whole[:index])
        if index < len(whole) - 1:  # of JSON alone: behind it is the end of a line
            refused(store, manifest(store))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"3",
        b'"text"',
        b"{}",
        b"null",
        b'{"files": {}, "facts": null, "crc32c": ""}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"files": {}, "facts": {"part": "\\ud800"}, "crc32c": ""}',
        b"9" * 5000,
    ],
)
def test_what_is_no_manifest_is_named(store, content):
    manifest(store).write_bytes(content)
    refused(store, manifest(store), "incomplete")


def test_swapped_data_are_seen(store):
    one, other = data(store, 0), data(store, 1)
    one.rename(f"{one}~")
    other.rename(one)
    Path(f"{one}~").rename(other)
    refused(store, one, "checksum mismatch")
    refused(store, other, "checksum mismatch", number=1)


def test_the_manifest_of_another_part_is_seen(store):
    shutil.copy(manifest(store, 1), manifest(store, 0))
    refused(store, manifest(store, 0), "belongs to 30-abc/part-00001-of-00002")


def test_a_foreign_part_is_seen(store, tmp_path):
    foreign = FeatureStore(str(tmp_path / "30-def"), 2)
    foreign.write(0, part(9))
    for name in os.listdir(foreign.directory):
        shutil.copy(f"{foreign.directory}/{name}", store.directory)
    refused(store, manifest(store), "belongs to 30-def/part-00000-of-00002")


def test_a_copied_cache_is_no_foreign_one(store, tmp_path):
    shutil.copytree(store.directory, tmp_path / "elsewhere" / "30-abc")
    copied = FeatureStore(str(tmp_path / "elsewhere" / "30-abc"), 2)
    assert_equal(read(copied, 1)[0], part(1))


@pytest.mark.parametrize(
    "shape", [{"rows": ROWS + 1}, {"width": WIDTH + 1}, {"rows": 3, "width": 5}]
)
def test_a_part_of_another_shape_is_seen(store, shape):
    refused(store, manifest(store), f"[{ROWS}, {WIDTH}]", **shape)


def test_a_manifest_with_fewer_labels_than_rows_is_seen(store):
    whole = part()
    store.write(0, FeatureShard(whole.features, whole.labels[:-1], {}))
    refused(store, manifest(store))


def test_a_directory_in_the_place_of_a_manifest(store):
    manifest(store).unlink()
    manifest(store).mkdir()
    refused(store, manifest(store), "Is a directory")
    with pytest.raises(UserError, match=r"part-00000-of-00002.json: Is a directory"):
        store.write(0, part())


def test_a_part_is_replaced_as_a_whole(store):
    store.write(0, part(7))
    assert_equal(read(store)[0], part(7))
    assert_equal(read(store, 1)[0], part(1))
