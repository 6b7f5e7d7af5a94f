"""TensorBoard event files under logs/train and logs/eval; their scalars in logs/curves.jsonl."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.util import event_pb2

from trainer.board import summary_protos
from trainer.board.event_upload import EventUpload
from trainer.board.summary_protos import ImageSummary
from trainer.process.errors import GraftError, UserError
from trainer.storage import api as storage
from trainer.storage.api import join
from trainer.workdir import curves


class SummaryWriter:
    """Writes points over steps; removes those of a killed run beyond its last checkpoint.

    An error ends no run: it is passed to `warn`, once of each kind, and the point is left out.
    Only errors of a bucket are raised, as everywhere.

    Args:
        directory: `logs` of the workdir.
        resumed_step: the step that training resumes from; later ones are removed from existing
            files, so that a curve never steps back.
        upload: of a workdir in a bucket; files are written to its scratch directory.
        writes: False writes nothing: one worker writes for all.
        warn: called with a message for what is left out.
        every_steps: steps between two points of the training curve.
    """

    def __init__(
        self,
        directory: str,
        resumed_step: int,
        upload: EventUpload | None = None,
        writes: bool = True,
        warn: Callable[[str], None] = lambda message: None,
        every_steps: int = 1,
    ) -> None:
        self._warn = warn
        self._left_out: set[str] = set()
        self._upload = upload
        self._directory = directory if upload is None else upload.scratch
        self._writers = {}
        self._curves: curves.CurvesFile | None = None
        if not writes:
            return
        path = join(directory, curves.FILE)
        publish = upload.submit if upload else storage.write_atomically
        with self.optional("curves", "the report"):
            self._curves = curves.CurvesFile(
                directory, resumed_step, every_steps, partial(publish, path)
            )
            self._curves.write()
        for name in curves.NAMES:
            with self.optional(f"{name} curves"):
                truncate_after(join(directory, name), resumed_step)
                self._writers[name] = self._new_writer(name)

    @property
    def writes(self) -> bool:
        """Whether anything is written; if not, nothing need be drawn."""
        return bool(self._writers)

    def write(self, name: str, step: int, scalars: Mapping[str, float]) -> None:
        """Write `scalars` of `step` to the curve `name`, "train" or "eval"."""
        self._write(name, step, lambda: summary_protos.scalar_summary(scalars))
        if self._curves is not None:
            with self.optional("curves", "the report"):
                self._curves.add(name, step, scalars)

    def write_images(self, name: str, step: int, images: Mapping[str, ImageSummary]) -> None:
        """Write `images` of `step`, by tag; see write."""
        self._write(name, step, lambda: summary_protos.image_summary(images))

    def write_histograms(self, name: str, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Write histograms of `values` of `step`, by tag; see write."""
        self._write(name, step, lambda: summary_protos.histogram_summary(values))

    @contextlib.contextmanager
    def optional(self, what: str, reader: str = "TensorBoard") -> Iterator[None]:
        """Turn an error within into a warning that `reader` gets no `what`."""
        try:
            yield
        except Exception as error:
            may_be_bucket = self._upload is not None or not isinstance(error, UserError)
            if isinstance(error, GraftError) and may_be_bucket:
                raise
            missing = f"{reader} gets no {what}"
            if missing not in self._left_out:
                self._left_out.add(missing)
                lines = str(error).splitlines() or [""]
                self._warn(f"{missing}: {type(error).__name__}: {lines[0]}")

    def flush(self) -> None:
        """Write everything so far to the file system, or to the upload."""
        if self._curves is not None:
            with self.optional("curves", "the report"):
                self._curves.write()
        self._flush_events()

    def flush_if_due(self) -> None:
        """Upload the event files if that is due; curves.jsonl is uploaded with the checkpoints."""
        if self._upload is not None and self._upload.is_due():
            self._flush_events()

    def close(self) -> None:
        """Flush, and close the files."""
        self.flush()
        for name, writer in self._writers.items():
            with self.optional(f"{name} curves"):
                writer.close()

    def _flush_events(self) -> None:
        for name, writer in self._writers.items():
            with self.optional(f"{name} curves"):
                writer.flush()
        if self._upload is not None:
            for name in self._upload.send():
                # Each upload sends the complete file: a new one keeps it small.
                self._writers[name].close()
                self._writers[name] = self._new_writer(name)

    def _write(self, name: str, step: int, record: Callable[[], Any]) -> None:
        if name not in self._writers:
            return
        with self.optional(f"{name} curves"), self._writers[name].as_default(step):
            tf.summary.experimental.write_raw_pb(record().SerializeToString())
        if self._upload is not None:
            self._upload.wrote(name, step)

    def _new_writer(self, name: str) -> tf.summary.SummaryWriter:
        return tf.summary.create_file_writer(os.path.join(self._directory, name))


def truncate_after(directory: str, step: int) -> None:
    """Remove the events after `step` from the event files of `directory`.

    An object that has no later steps, by its metadata, is not downloaded.
    """
    if storage.is_remote(directory):
        found = storage.list_metadata(directory)
    else:
        found = {name: {} for name in storage.list_names(directory)}
    for name, metadata in found.items():
        # TensorBoard recognizes its files by the first condition, too.
        if "tfevents" not in name or int(metadata.get("last_step", step + 1)) <= step:
            continue
        path = join(directory, name)
        content = storage.read_bytes(path)
        kept = kept_until(content, step)
        if not kept:
            storage.remove_file(path)
        elif kept != content:
            storage.write_atomically(path, kept, {"last_step": str(step)})


def kept_until(content: bytes, step: int) -> bytes:
    """Return an event file's complete records up to `step`; b"" if none has a summary."""
    # In a temporary directory: TensorBoard would read a file that a kill leaves in `logs`.
    with tempfile.TemporaryDirectory(prefix="graft-summaries-") as scratch:
        path = os.path.join(scratch, "events")
        with open(path, "wb") as stream:
            stream.write(content)
        records = []
        # A kill may have truncated the last record; those before it are complete.
        with contextlib.suppress(tf.errors.DataLossError):
            records.extend(tf.data.TFRecordDataset(path).as_numpy_iterator())
        kept = [record for record in records if event_pb2.Event.FromString(record).step <= step]
        if not any(event_pb2.Event.FromString(record).HasField("summary") for record in kept):
            return b""
        if len(kept) == len(records):
            return content[: sum(len(record) + 16 for record in kept)]  # length, two checksums
        with tf.io.TFRecordWriter(path) as writer:
            for record in kept:
                writer.write(record)
        with open(path, "rb") as stream:
            return stream.read()
