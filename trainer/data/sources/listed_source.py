"""Sources that list their examples: folders and import files.

An image is read when its batch is due; an epoch's order is a permutation of indices.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import unicodedata
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.data.sources.source import Example, Index, Order, shard_bounds, version_digest
from trainer.graph.plain_pipeline import do_not_convert
from trainer.process.errors import UserError

# Indices that one call of a function permutes: a call costs more than an index.
_ORDERED_AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class Listing:
    """The examples of one split: path, label and id of each image."""

    paths: tuple[str, ...]
    labels: tuple[int, ...]
    ids: tuple[str, ...]


class ListedSource:
    """Images in separate files, each read when its batch is due.

    Args:
        name: of the data set in messages.
        class_names: the classes, in the order of the labels.
        splits: the examples by split.
    """

    def __init__(
        self, name: str, class_names: tuple[str, ...], splits: Mapping[str, Listing]
    ) -> None:
        self.name = name
        self.class_names = class_names
        # By a hash of the id: a shard's members do not depend on the files' order, and a shard
        # has every class even where files are sorted by class.
        self._splits = {split: _in_hash_order(listing) for split, listing in splits.items()}
        self._tables: dict[str, tuple[tf.Tensor, tf.Tensor, tf.Tensor]] = {}

    @functools.cached_property
    def digest(self) -> str:
        """The digest of every split's ids and labels; no file is read."""
        digest = hashlib.sha256(repr(self.class_names).encode())
        for split, listing in sorted(self._splits.items()):
            for label, example_id in zip(listing.labels, listing.ids, strict=True):
                digest.update(f"{split}\0{label}\0{example_id}\n".encode())
        return digest.hexdigest()

    def num_examples(self, split: str) -> int:
        """See Source."""
        return len(self.listing(split).paths)

    def label_counts(self, split: str, without: Collection[str] = ()) -> np.ndarray:
        """See Source."""
        examples = self.listing(split)
        labels = np.array(examples.labels, np.int64)
        if without:
            labels = labels[[example_id not in without for example_id in examples.ids]]
        return np.bincount(labels, minlength=len(self.class_names))

    def examples(self, split: str, shard: Index, num_shards: int, **order: Any) -> tf.data.Dataset:
        """See Source."""
        paths, labels, ids = self._table(split)

        @do_not_convert
        def read(ordered: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            index = ordered["index"]
            encoded = tf.io.read_file(paths[index])
            return {"encoded": encoded, "label": labels[index], "id": ids[index]}

        indices = self.order(split, shard, num_shards, **order)
        return indices.map(read, num_parallel_calls=4, deterministic=True)

    def order(self, split: str, shard: Index, num_shards: int, **order: Any) -> tf.data.Dataset:
        """See Source. A permutation by (seed, epoch): skipping reads nothing."""
        wanted = Order(**order)
        begin, end = shard_bounds(self.num_examples(split), shard, num_shards)

        @do_not_convert
        def ordered(turns: tf.Tensor) -> dict[str, tf.Tensor]:
            if wanted.shuffle:
                key = tf.stack([tf.cast(n, tf.int64) for n in (wanted.seed, wanted.epoch)])
                turns = tf.random.experimental.index_shuffle(turns, key, end - begin - 1)
            return {"index": begin + turns}

        turns = tf.data.Dataset.range(tf.cast(wanted.skip, tf.int64), end - begin)
        return turns.batch(_ORDERED_AT_ONCE).map(ordered).unbatch()

    def example(self, split: str, index: int) -> Example:
        """See Source."""
        listing = self.listing(split)
        return Example(read_file(listing.paths[index]), listing.labels[index], listing.ids[index])

    def version_digest(self, split: str) -> str:
        """See Source."""
        return version_digest(self.listing(split).paths)

    def corrupt_file(self) -> str:
        """See Source. "": each image is a file, and its own error names it."""
        return ""

    def _table(self, split: str) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        listing = self.listing(split)
        if split not in self._tables:
            # Outside of the traced function: captured, not copied into its graph.
            with tf.init_scope():
                self._tables[split] = (
                    tf.constant(listing.paths, tf.string),
                    tf.constant(listing.labels, tf.int64),
                    tf.constant(listing.ids, tf.string),
                )
        return self._tables[split]

    def listing(self, split: str) -> Listing:
        """Return the examples of `split`, in its order without shuffling.

        Raises:
            UserError: there is no such split; the message lists the splits.
        """
        if split not in self._splits:
            raise UserError(
                f"{self.name} has no split {split!r}; it has {', '.join(sorted(self._splits))}"
            )
        return self._splits[split]


def read_file(path: str) -> bytes:
    """Read the bytes of a file, local or gs://.

    Raises:
        OSError, OpError: it cannot be read.
    """
    if "://" in path:
        with tf.io.gfile.GFile(path, "rb") as stream:
            return stream.read()
    with open(path, "rb") as file:
        return file.read()


def check_classes(name: str, splits: Mapping[str, Listing], class_names: tuple[str, ...]) -> None:
    """Refuse data that cannot train a classifier.

    Raises:
        UserError: fewer than two classes, or a class without an image in the training split.
    """
    if len(class_names) < 2:
        raise UserError(
            f"{name} holds {len(class_names)} class ({', '.join(class_names)}); "
            "a classifier needs two"
        )
    for class_name in class_names:
        if any(unicodedata.category(character) == "Cc" for character in class_name):
            raise UserError(f"{name}: class {class_name!r} must hold no control characters")
    counts = np.bincount(splits["train"].labels, minlength=len(class_names))
    for index, class_name in enumerate(class_names):
        if not counts[index]:
            others = [split for split in splits if index in splits[split].labels]
            raise UserError(
                f"{name}: class {class_name!r} has no image in the training split, and "
                f"{'some in ' + repr(others[0]) if others else 'none in another'}; add some, or "
                "leave the class out"
            )


def split_by_hash(example_id: str) -> str:
    """Assign a split by the id's hash: train for 80 %, validation for 20 %."""
    part = hashlib.sha256(example_id.encode()).digest()[0]
    return "validation" if part % 5 == 0 else "train"


def _in_hash_order(listing: Listing) -> Listing:
    order = sorted(
        range(len(listing.ids)),
        key=lambda i: hashlib.sha256(listing.ids[i].encode()).digest(),
    )
    return Listing(
        paths=tuple(listing.paths[i] for i in order),
        labels=tuple(listing.labels[i] for i in order),
        ids=tuple(listing.ids[i] for i in order),
    )
