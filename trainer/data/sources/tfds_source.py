"""Prepared data sets of TensorFlow Datasets.

TFDS gives only the description of a data set. Its TFRecord files are read here, as encoded bytes,
to control the order and to skip without decoding. The layout of files and records:
https://www.tensorflow.org/datasets/external_tfrecord
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.data.sources import tfds_features, tfrecord_runs
from trainer.data.sources.source import Example, Index, Order, shard_bounds, version_digest
from trainer.data.sources.tfrecord_runs import Run
from trainer.data.windowed_shuffle import shuffle_in_windows
from trainer.graph.plain_pipeline import do_not_convert
from trainer.process.errors import UserError

# A second or two from a disk. TFRecords have checksums.
_MAX_CHECKED_BYTES = 2**31


class TfdsSource:
    """A prepared TFDS data set of images with one label each.

    An epoch shuffles the shard's files, and the records within windows, with a seed of (seed,
    epoch, shard). A skip reads the skipped records and decodes nothing.

    Args:
        name: of the data set in messages.
        builder: the `tfds.core.DatasetBuilder`, prepared.
        shuffle_buffer_size: examples in the shuffle windows of all logical shards together.

    Raises:
        UserError: its features lack an image or a class label, or its files are not TFRecords.
    """

    def __init__(self, name: str, builder: Any, shuffle_buffer_size: int) -> None:
        self.name = name
        self._info = builder.info
        self._shuffle_buffer_size = shuffle_buffer_size
        self._tables: dict[tuple[str, int], tuple[tf.Tensor, ...]] = {}
        self._image_key, self._label_key = tfds_features.keys(name, self._info)
        # Data written by `graft pack` have ids: the examples' original paths.
        self._has_ids = "id" in self._info.features
        self.class_names = tuple(self._info.features[self._label_key].names)
        if len(self.class_names) < 2:
            raise UserError(f"{name} holds {len(self.class_names)} class; a classifier needs two")
        if self._info.file_format and self._info.file_format.value != "tfrecord":
            raise UserError(f"{name}: its files are {self._info.file_format.value}, not tfrecord")

    @functools.cached_property
    def digest(self) -> str:
        """The digest of the classes and every split's files: their names, counts and bytes."""
        digest = hashlib.sha256(repr(self.class_names).encode())
        for split, info in sorted(self._info.splits.items()):
            files = [os.path.basename(str(path)) for path in info.filepaths]
            num_bytes = int(info.num_bytes)  # TFDS prints it rounded, such as 19.99 KiB
            digest.update(f"{split} {files} {info.shard_lengths} {num_bytes}\n".encode())
        return digest.hexdigest()

    def num_examples(self, split: str) -> int:
        """See Source. `split` may be a slice in TFDS's notation, such as `train[90%:]`."""
        return sum(take for _, _, take in self._runs(split))

    def label_counts(self, split: str, without: Collection[str] = ()) -> np.ndarray:
        """See Source. Reads every record of the split once; decodes no image."""
        counts = np.zeros(len(self.class_names), np.int64)
        examples = self.examples(split, 0, 1, shuffle=False)
        pairs = examples.map(lambda example: (example["label"], example["id"]))
        for labels, ids in pairs.batch(1024).as_numpy_iterator():
            if without:
                labels = labels[[i.decode("utf-8", "replace") not in without for i in ids]]
            counts += np.bincount(labels, minlength=len(counts))
        return counts

    def examples(self, split: str, shard: Index, num_shards: int, **order: Any) -> tf.data.Dataset:
        """See Source."""
        _, _, paths, befores, offsets, takes = self._table(split, num_shards)

        def read(run: tf.Tensor) -> tf.data.Dataset:
            return tfrecord_runs.read(paths[run], befores[run], offsets[run], takes[run])

        records = self._in_order(read, split, shard, num_shards, Order(**order))
        return records.map(self._parse)

    def order(self, split: str, shard: Index, num_shards: int, **order: Any) -> tf.data.Dataset:
        """See Source."""
        _, indices, *_, takes = self._table(split, num_shards)

        def count(run: tf.Tensor) -> tf.data.Dataset:
            return tf.data.Dataset.range(indices[run], indices[run] + takes[run])

        ordered = self._in_order(count, split, shard, num_shards, Order(**order))
        return tf.data.Dataset.zip({"index": ordered})

    def _in_order(
        self,
        read: Callable[[tf.Tensor], tf.data.Dataset],
        split: str,
        shard: Index,
        num_shards: int,
        order: Order,
    ) -> tf.data.Dataset:
        """Apply `read` to each run of a shard, in that order."""
        first_runs = self._table(split, num_shards)[0]
        shard = tf.cast(shard, tf.int64)
        first_run, num_runs = first_runs[shard], first_runs[shard + 1] - first_runs[shard]
        seed = self._order_seed(order, shard, num_shards)

        @do_not_convert
        def read_in_turn(turn: tf.Tensor) -> tf.data.Dataset:
            if order.shuffle:
                turn = tf.random.experimental.index_shuffle(turn, tf.stack([seed, 0]), num_runs - 1)
            return read(first_run + turn)

        records = tf.data.Dataset.range(num_runs).flat_map(read_in_turn)
        if not order.shuffle:
            return records.skip(order.skip)
        begin, end = shard_bounds(self.num_examples(split), shard, num_shards)
        size = max(1, self._shuffle_buffer_size // num_shards)
        return shuffle_in_windows(records, end - begin, size, seed, order.skip)

    def example(self, split: str, index: int) -> Example:
        """See Source."""
        for path, before, take in self._runs(split):
            if index < take:
                record = tfrecord_runs.read_one(path, before + index)
                break
            index -= take
        number = f"{os.path.basename(path)}__{before + index}"
        key = "id" if self._has_ids else ""
        return tfds_features.example(record, self._image_key, self._label_key, key, number)

    def version_digest(self, split: str) -> str:
        """See Source."""
        return version_digest([path for path, _, _ in self._runs(split)])

    def corrupt_file(self) -> str:
        """See Source. Above _MAX_CHECKED_BYTES, checks only whether the files exist."""
        splits = self._info.splits.values()
        paths = [str(path) for info in splits for path in info.filepaths]
        is_small = sum(info.num_bytes for info in splits) <= _MAX_CHECKED_BYTES
        for path in paths:
            if not tf.io.gfile.exists(path):
                return path
            if is_small:
                try:
                    for _ in tf.data.TFRecordDataset(path).batch(256):
                        pass
                except tf.errors.OpError:
                    return path
        return ""

    def _table(self, split: str, num_shards: int) -> tuple[tf.Tensor, ...]:
        """Return where each shard's runs begin, int64 [shards + 1]; and of all runs, shard after
        shard: the first record's index in the split, paths string, records before, the first one's
        offset in bytes or -1, records to take, int64 [runs].
        """
        if (split, num_shards) not in self._tables:
            all_runs = self._runs(split)
            cut = [tfrecord_runs.cut(all_runs, shard, num_shards) for shard in range(num_shards)]
            runs = [run for shard in cut for run in shard]
            # Outside of the traced function: captured, not copied into its graph.
            with tf.init_scope():
                self._tables[split, num_shards] = (
                    tf.constant(np.cumsum([0, *map(len, cut)]), tf.int64),
                    tf.constant(np.cumsum([0, *(run[2] for run in runs)])[:-1], tf.int64),
                    tf.constant([path for path, _, _ in runs], tf.string),
                    tf.constant([before for _, before, _ in runs], tf.int64),
                    tf.constant(_offsets(runs), tf.int64),
                    tf.constant([take for _, _, take in runs], tf.int64),
                )
        return self._tables[split, num_shards]

    def _order_seed(self, order: Order, shard: tf.Tensor, num_shards: int) -> tf.Tensor:
        number = tf.cast(order.epoch, tf.int64) * num_shards + shard
        pair = tf.stack([tf.cast(order.seed, tf.int64), number])
        return tf.random.stateless_uniform([], pair, 1, 2**31 - 1, tf.int64)

    @do_not_convert
    def _parse(self, path: tf.Tensor, index: tf.Tensor, record: tf.Tensor) -> dict[str, tf.Tensor]:
        wanted = {
            self._image_key: tf.io.FixedLenFeature([], tf.string),
            self._label_key: tf.io.FixedLenFeature([], tf.int64),
        }
        if self._has_ids:
            wanted["id"] = tf.io.FixedLenFeature([], tf.string)
        features = tf.io.parse_single_example(record, wanted)
        example_id = features.get("id")
        if example_id is None:  # the file's name and the record's index in it, as in TFDS
            file = tf.strings.regex_replace(path, ".*/", "")
            example_id = tf.strings.join([file, tf.strings.as_string(index)], "__")
        return {
            "encoded": features[self._image_key],
            "label": features[self._label_key],
            "id": example_id,
        }

    def _runs(self, split: str) -> list[Run]:
        try:
            instructions = self._info.splits[split].file_instructions
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{self.name} has no split {split!r}; it has {', '.join(sorted(self._info.splits))}"
                "; a slice of one is written as train[:90%], train[90%:] or train[100:200]"
            ) from error
        runs = []
        for instruction in instructions:
            in_file = instruction.examples_in_shard
            take = in_file - instruction.skip if instruction.take == -1 else instruction.take
            runs.append((str(instruction.filename), instruction.skip, take))
        return runs


def _offsets(runs: Sequence[Run]) -> list[int]:
    """Return the offset in bytes of each run's first record in its file, or -1."""
    befores: dict[str, list[int]] = {}
    for path, before, _ in runs:
        befores.setdefault(path, []).append(before)
    found = {path: iter(tfrecord_runs.offsets(path, counts)) for path, counts in befores.items()}
    return [next(found[path]) for path, _, _ in runs]
