"""Runs of records in TFRecord files: divided among logical shards, and read from their offsets.

The format: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

from __future__ import annotations

import array
import contextlib
import functools
import itertools
import os
import struct
from collections.abc import Iterator, Sequence

import tensorflow as tf

from trainer.data.sources.source import shard_bounds

# One run of records in a file: its path, the number of records before it, and its length.
Run = tuple[str, int, int]


def read(path: tf.Tensor, before: tf.Tensor, offset: tf.Tensor, take: tf.Tensor) -> tf.data.Dataset:
    """Read one run from `offset` in bytes, or, where that is -1, after skipping `before` records.

    Returns:
        Triples of scalars: the file's path, the record's index in it, the record.
    """
    variant = tf.raw_ops.TFRecordDatasetV2(
        filenames=path[None],
        compression_type="",
        buffer_size=tf.constant(2**18, tf.int64),
        byte_offsets=tf.maximum(offset, 0)[None],
    )
    records = tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string))
    records = records.skip(tf.where(offset < 0, before, 0))
    # Zipped, not mapped: a function call for each record costs more than reading it.
    paths = tf.data.Dataset.from_tensor_slices(path[None]).repeat(take)
    return tf.data.Dataset.zip(paths, tf.data.Dataset.range(before, before + take), records)


def offsets(path: str, counts: Sequence[int]) -> list[int]:
    """Return the offsets in bytes of these records of a TFRecord file; -1 where unknown.

    The file is scanned once.
    """
    found = {0: 0}
    wanted = set(counts) if "://" not in path else set()
    with contextlib.suppress(OSError, OverflowError, struct.error):
        last = max(wanted, default=-1)
        for count, position in enumerate(itertools.islice(_begins(path), last + 1)):
            if count in wanted:
                found[count] = position
    return [found.get(count, -1) for count in counts]


def _begins(path: str) -> Iterator[int]:
    """Yield each record's offset: its length (8 bytes), its checksum (4), the data, theirs (4).

    Raises:
        OSError, OverflowError, struct.error: the file is missing or corrupt.
    """
    with open(path, "rb", buffering=0) as file:
        position, size = 0, os.fstat(file.fileno()).st_size
        # A read beyond the end would look like a normal end.
        while position < size:
            yield position
            position += struct.unpack("<Q", os.pread(file.fileno(), 8, position))[0] + 16


def read_one(path: str, count: int) -> bytes:
    """Read record `count` of a TFRecord file; thread-safe.

    Raises:
        OSError, OpError, StopIteration: the file is missing or shorter.
    """
    index = _index(path, os.stat(path).st_mtime_ns) if "://" not in path else ()
    if count >= len(index):
        return next(tf.data.TFRecordDataset(path).skip(count).take(1).as_numpy_iterator())
    with open(path, "rb") as file:
        length, _ = struct.unpack("<QI", os.pread(file.fileno(), 12, index[count]))
        return os.pread(file.fileno(), length, index[count] + 12)


@functools.lru_cache(maxsize=64)
def _index(path: str, mtime: int) -> Sequence[int]:
    """Return the records' offsets in a local file, up to a corrupt one; cached by `mtime`."""
    found = array.array("Q")
    with contextlib.suppress(OSError, OverflowError, struct.error):
        found.extend(_begins(path))
    return found


def cut(runs: list[Run], shard: int, num_shards: int) -> list[Run]:
    """Return the part of `runs` that is logical shard `shard`."""
    begin, end = shard_bounds(sum(take for _, _, take in runs), shard, num_shards)
    cut, position = [], 0
    for path, before, take in runs:
        first, last = max(begin, position), min(end, position + take)
        if first < last:
            cut.append((path, before + first - position, last - first))
        position += take
    return cut
