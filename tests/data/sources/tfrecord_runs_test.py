"""Where records of a TFRecord file begin, found without reading them."""

import os
import struct

import pytest
import tensorflow as tf

from trainer.data.sources import tfrecord_runs
from trainer.data.sources.source import shard_bounds

RECORDS = [bytes([i]) * (7 * i * i % 300) for i in range(23)]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "größe 1.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in RECORDS:
            writer.write(record)
    return path


def as_written(records):
    return [sum(len(record) + 16 for record in records[:i]) for i in range(len(records))]


def read(path, before, offset, take):
    run = [tf.constant(number, tf.int64) for number in (before, offset, take)]
    # In a function, as sources have it: TensorFlow cannot begin a pipeline with this data set.
    one = tf.data.Dataset.from_tensors(0)
    dataset = one.flat_map(lambda _: tfrecord_runs.read(tf.constant(str(path)), *run))
    return [(p.decode(), int(index), r) for p, index, r in dataset.as_numpy_iterator()]


def expected(path, before, take):
    return [(str(path), i, RECORDS[i]) for i in range(before, before + take)]


def test_offsets_are_exact(path):
    assert len(RECORDS[0]) == 0
    every = as_written(RECORDS)
    assert tfrecord_runs.offsets(str(path), range(len(RECORDS))) == every
    assert tfrecord_runs.offsets(str(path), [9, 3, 9, 0]) == [every[i] for i in (9, 3, 9, 0)]
    assert tfrecord_runs.offsets(str(path), []) == []


@pytest.mark.parametrize("before", [0, 1, 9, 22])
def test_a_run_is_the_same_with_and_without_an_offset(path, before):
    (offset,) = tfrecord_runs.offsets(str(path), [before])
    for take in {1, (23 - before) // 2 or 1, 23 - before}:
        assert read(path, before, offset, take) == expected(path, before, take)
        assert read(path, before, -1, take) == expected(path, before, take)


def test_the_end_and_beyond_are_no_places(path):
    # Reading from there would be an empty file, and no error.
    beyond = [len(RECORDS), len(RECORDS) + 1, 10_000]
    assert tfrecord_runs.offsets(str(path), beyond) == [-1, -1, -1]


def with_length(path, number, length):
    content = bytearray(path.read_bytes())
    index = as_written(RECORDS)[number]
    content[index : index + 8] = struct.pack("<Q", length)
    path.write_bytes(content)


@pytest.mark.parametrize("length", [2**64 - 1, 2**63 - 1, 2**63 - 17, 2**63 - 16, 2**40])
def test_an_absurd_length_gives_no_place(path, length):
    with_length(path, 5, length)
    assert tfrecord_runs.offsets(str(path), [5, 6, 9]) == [
        as_written(RECORDS)[5],
        -1,
        -1,
    ]
    with pytest.raises(tf.errors.DataLossError):
        read(path, 9, -1, 3)


def test_a_damaged_length_is_an_error_when_it_is_read(path):
    with_length(path, 5, len(RECORDS[5]) + 1)
    (offset,) = tfrecord_runs.offsets(str(path), [7])
    assert offset != as_written(RECORDS)[7]
    with pytest.raises(tf.errors.DataLossError):
        read(path, 7, offset, 3)


@pytest.mark.parametrize("lost", [1, 5, 17])
def test_a_cut_file_is_an_error_when_it_is_read(path, lost):
    """Cut in the record before the run: its header is whole, and the run would begin beyond."""
    offsets = as_written(RECORDS)
    path.write_bytes(path.read_bytes()[: offsets[9] - lost])
    assert tfrecord_runs.offsets(str(path), [8, 9]) == [offsets[8], -1]
    with pytest.raises(tf.errors.DataLossError):
        read(path, 9, -1, 3)


def test_a_file_that_is_gone_gives_no_place_but_the_first(tmp_path):
    gone = str(tmp_path / "gone")
    assert tfrecord_runs.offsets(gone, [0, 1]) == [0, -1]
    for offset in (0, -1):
        with pytest.raises(tf.errors.NotFoundError, match="gone"):
            read(gone, 1, offset, 1)


def test_what_is_far_away_is_not_asked():
    assert tfrecord_runs.offsets("gs://no-such-bucket/x.tfrecord", [3, 0]) == [-1, 0]


def test_one_record_alone(path):
    for count in (22, 0, 7):
        assert tfrecord_runs.read_one(str(path), count) == RECORDS[count]
    with pytest.raises(StopIteration):
        tfrecord_runs.read_one(str(path), len(RECORDS))


def test_one_record_of_a_file_that_has_changed(path):
    assert tfrecord_runs.read_one(str(path), 2) == RECORDS[2]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in RECORDS[::-1]:
            writer.write(record)
    os.utime(path, ns=(1, 1))
    assert tfrecord_runs.read_one(str(path), 2) == RECORDS[-3]
    path.unlink()
    with pytest.raises(FileNotFoundError):
        tfrecord_runs.read_one(str(path), 2)


def test_one_record_behind_a_damaged_one(path):
    content = bytearray(path.read_bytes())
    content[as_written(RECORDS)[5]] ^= 0xFF  # its length
    path.write_bytes(content)
    with pytest.raises(tf.errors.DataLossError):
        tfrecord_runs.read_one(str(path), 8)


@pytest.mark.parametrize("num_shards", [1, 2, 3, 7, 40])
def test_cut(num_shards):
    runs = [("a", 2, 5), ("b", 0, 1), ("c", 3, 0), ("d", 0, 11)]
    records = [(path, before + i) for path, before, take in runs for i in range(take)]
    for shard in range(num_shards):
        begin, end = shard_bounds(len(records), shard, num_shards)
        cut = tfrecord_runs.cut(runs, shard, num_shards)
        found = [(path, before + i) for path, before, take in cut for i in range(take)]
        assert found == records[begin:end]
        assert all(take > 0 for *_, take in cut)
