"""The one interface to data.

A source is cut into logical shards, fixed for a run. `examples` is a pure function of its
arguments, so the position of a run in its data is a number, never an iterator's state.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import tensorflow as tf

from trainer.storage import api as storage

# A shard, an epoch or an offset: a number, or an int64 scalar inside of a tf.data pipeline.
Index: TypeAlias = int | tf.Tensor


@dataclasses.dataclass(frozen=True)
class Order:
    """Which of a shard's examples come, and when.

    Attributes:
        epoch: orders differ from one to the next.
        seed: and from one seed to another.
        shuffle: if not, the split's own order.
        skip: how many of the first examples are left out.
    """

    epoch: Index = 0
    seed: int = 0
    shuffle: bool = True
    skip: Index = 0


class Example(NamedTuple):
    """One example as its file holds it: the image's bytes, its label, its id."""

    encoded: bytes
    label: int
    id: str


class Source(Protocol):
    """Examples by split: encoded images, their labels, and an id that names each."""

    @property
    def name(self) -> str:
        """What a message calls it."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the labels."""

    @property
    def digest(self) -> str:
        """Names the content: which examples with which labels, in hexadecimal digits."""

    def __hash__(self) -> int:
        """By identity: what is read of a source may be kept."""

    def num_examples(self, split: str) -> int:
        """How many examples `split` holds.

        Raises:
            UserError: there is no such split; the message lists those there are.
        """

    def label_counts(self, split: str, without: Collection[str] = ()) -> np.ndarray:
        """Examples per class of `split`, but for those of the ids `without`: int64 [classes]."""

    def examples(self, split: str, shard: Index, num_shards: int, **order: Any) -> tf.data.Dataset:
        """Logical shard `shard` of `num_shards`, in the Order of these keywords.

        Shards are disjoint, together they are the split, and their sizes are those of
        `shard_bounds`. The membership does not depend on the epoch, the order does.

        Returns:
            scalars {"encoded": string, an image file's bytes; "label": int64; "id": string}.
        """

    def order(self, split: str, shard: Index, num_shards: int, **order: Any) -> tf.data.Dataset:
        """What `examples` yields for these arguments, by place alone; no file is read.

        Returns:
            scalars {"place": int64}, counted in the split's order without shuffling.
        """

    def example(self, split: str, index: int) -> Example:
        """The one at `place` in the split's order without shuffling; no pipeline is built.

        Raises:
            OSError, OpError: its file cannot be read.
        """

    def version_digest(self, split: str) -> str:
        """Hexadecimal digits that change when a file of the split is written again.

        Raises:
            UserError, StorageUnreachable: a bucket's files cannot be listed.
        """

    def damaged_file(self) -> str:
        """The first file that is gone or cannot be read to its end, or "": found by reading.

        A run asks before it starts: what is damaged is not for hours later.
        """


def shard_bounds(num_examples: int, shard: Index, num_shards: int) -> tuple[Index, Index]:
    """Where a logical shard begins and ends in a row of examples; sizes differ by 1 at most."""
    return shard * num_examples // num_shards, (shard + 1) * num_examples // num_shards


def version_digest(paths: Sequence[str]) -> str:
    """Hexadecimal digits of the versions of files, in a bucket too; see storage.versions."""
    whole = hashlib.sha256()
    for path, version in zip(paths, storage.versions(paths), strict=True):
        whole.update((path + version).encode())
    return whole.hexdigest()
