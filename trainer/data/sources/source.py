"""The interface to data.

A source has logical shards, fixed for a run. `examples` is a pure function of its arguments, so a
run's position in its data is a number, not an iterator's state.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import tensorflow as tf

from trainer.storage import api as storage

# A shard, an epoch or an offset: a number, or an int64 scalar inside a tf.data pipeline.
Index: TypeAlias = int | tf.Tensor


@dataclasses.dataclass(frozen=True)
class Order:
    """The order of a shard's examples.

    Attributes:
        epoch: each epoch has another order.
        seed: so has each seed.
        shuffle: if not, the split's own order.
        skip: how many of the first examples to skip.
    """

    epoch: Index = 0
    seed: int = 0
    shuffle: bool = True
    skip: Index = 0


class Example(NamedTuple):
    """One example as stored: the image's bytes, its label, its id."""

    encoded: bytes
    label: int
    id: str


class Source(Protocol):
    """Examples by split: encoded images, their labels, and an id that names each."""

    @property
    def name(self) -> str:
        """The name of the data in messages."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the labels."""

    @property
    def digest(self) -> str:
        """Hexadecimal digest of the examples' ids and labels."""

    def __hash__(self) -> int:
        """By identity, so that callers may cache what they read."""

    def num_examples(self, split: str) -> int:
        """Return the number of examples of `split`.

        Raises:
            UserError: there is no such split; the message lists the splits.
        """

    def label_counts(self, split: str, without: Collection[str] = ()) -> np.ndarray:
        """Count the examples of `split` by class, int64 [classes], except the ids `without`."""

    def examples(self, split: str, shard: Index, num_shards: int, **order: Any) -> tf.data.Dataset:
        """Read logical shard `shard` of `num_shards`, in the Order of these keywords.

        Shards are disjoint and cover the split; `shard_bounds` gives their sizes. The order
        depends on the epoch, the membership does not.

        Returns:
            scalars {"encoded": string, an image file's bytes; "label": int64; "id": string}.
        """

    def order(self, split: str, shard: Index, num_shards: int, **order: Any) -> tf.data.Dataset:
        """Return the indices of what `examples` yields for these arguments; reads no file.

        Returns:
            scalars {"index": int64}, in the split's order without shuffling.
        """

    def example(self, split: str, index: int) -> Example:
        """Read the example at `index` of the split's order without shuffling; builds no pipeline.

        Raises:
            OSError, OpError: its file cannot be read.
        """

    def version_digest(self, split: str) -> str:
        """Return hexadecimal digits that change when a file of the split is rewritten.

        Raises:
            UserError, StorageUnreachable: a bucket's files cannot be listed.
        """

    def corrupt_file(self) -> str:
        """Read the files; return the first that is missing or cannot be read to its end, or "".

        A run checks before it starts, so that a corrupt file does not end it hours later.
        """


def shard_bounds(num_examples: int, shard: Index, num_shards: int) -> tuple[Index, Index]:
    """Return the first and the end index of a logical shard; sizes differ by at most 1."""
    return shard * num_examples // num_shards, (shard + 1) * num_examples // num_shards


def version_digest(paths: Sequence[str]) -> str:
    """Return the digest of the files' versions, local or in a bucket; see storage.versions."""
    digest = hashlib.sha256()
    for path, version in zip(paths, storage.versions(paths), strict=True):
        digest.update((path + version).encode())
    return digest.hexdigest()
