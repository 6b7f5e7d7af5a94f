"""TensorBoard event files under logs/train and logs/eval."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping

import tensorflow as tf
from tensorflow.core.util import event_pb2

from trainer.storage import list_names, write_atomically


class Summaries:
    """Scalars over steps; what a killed run wrote beyond its last checkpoint is taken back.

    Args:
        directory: `logs` of the workdir.
        resumed_step: the step training goes on from; later ones are removed from the files that
            are there, so that a curve never steps back.
        writes: False keeps silent: one worker writes for all.
    """

    def __init__(self, directory: str, resumed_step: int, writes: bool = True) -> None:
        self._writers = {}
        if not writes:
            return
        for name in ("train", "eval"):
            path = os.path.join(directory, name)
            forget_after(path, resumed_step)
            self._writers[name] = tf.summary.create_file_writer(path)

    def write(self, name: str, step: int, scalars: Mapping[str, float]) -> None:
        """Write `scalars` of `step` to the curve `name`, "train" or "eval"."""
        if name not in self._writers:
            return
        with self._writers[name].as_default(step):
            for tag, value in scalars.items():
                tf.summary.scalar(tag, value)

    def flush(self) -> None:
        """Hand everything written so far to the file system."""
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Flush, and let go of the files."""
        for writer in self._writers.values():
            writer.close()


def forget_after(directory: str, step: int) -> None:
    """Remove from the event files of `directory` what belongs to steps after `step`."""
    for name in list_names(directory):
        if "tfevents" not in name:  # TensorBoard's own test
            continue
        path = os.path.join(directory, name)
        records = []
        # A kill may have cut the last record; those before it are whole.
        with contextlib.suppress(tf.errors.DataLossError):
            records.extend(tf.data.TFRecordDataset(path).as_numpy_iterator())
        kept = [record for record in records if event_pb2.Event.FromString(record).step <= step]
        if len(kept) == len(records) and os.path.getsize(path) == _framed_size(records):
            continue
        if not any(event_pb2.Event.FromString(record).HasField("summary") for record in kept):
            os.remove(path)
            continue
        # Elsewhere: TensorBoard would read what a kill leaves beside the file as points.
        with tempfile.NamedTemporaryFile(prefix="graft-summaries-") as scratch:
            with tf.io.TFRecordWriter(scratch.name) as writer:
                for record in kept:
                    writer.write(record)
            write_atomically(path, scratch.read())


def _framed_size(records: list[bytes]) -> int:
    return sum(len(record) + 16 for record in records)  # TFRecord: length and two checksums
