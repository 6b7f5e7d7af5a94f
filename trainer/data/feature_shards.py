"""The feature shards of a split, collected as they are read, or computed and written."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import resource
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from trainer.data.feature_pipeline import FeatureTable
from trainer.data.feature_store import FeatureShard, FeatureStore
from trainer.process.errors import UserError


class FeatureShards:
    """Collects the shards of `store` into one table.

    Args:
        store: where they are kept.
        sizes: examples of each shard.
        width: values of a row of features.
        in_memory: keep the rows in memory; else each batch reads them from the files.
    """

    def __init__(
        self, store: FeatureStore, sizes: Sequence[int], width: int, in_memory: bool
    ) -> None:
        self._store = store
        self._sizes = sizes
        self._width = width
        self._begins = [0, *itertools.accumulate(sizes)]
        self._in_memory = in_memory
        self._features = np.empty([self._begins[-1] if in_memory else 0, width], np.float32)
        self._shards: dict[int, FeatureShard] = {}

    @property
    def missing(self) -> list[int]:
        """The numbers of the shards that are neither read nor written yet."""
        return [number for number in range(len(self._sizes)) if number not in self._shards]

    def read(self) -> Iterator[str]:
        """Read the missing shards that the store has; yield the problem of each, or ""."""
        for number in self.missing:
            shard, problem = self._store.read(number, self._sizes[number], self._width)
            if shard is not None:
                self._register(number, shard)
            yield problem

    def write(self, number: int, shard: FeatureShard) -> None:
        """Commit a shard and add it.

        Raises:
            UserError: see FeatureStore.write.
        """
        self._store.write(number, shard)
        self._register(number, shard)

    def bad_images(self) -> list[tuple[str, str]]:
        """Return the id and the reason of each broken image, sorted by id."""
        return sorted(bad for shard in self._shards.values() for bad in shard.bad_images.values())

    def table(self, num_views: int) -> FeatureTable:
        """Return all shards, none of which is missing, as one table of `num_views` views.

        Raises:
            UserError: the limit of open files is too low.
        """
        shards = [self._shards[number] for number in range(len(self._sizes))]
        is_good = np.ones(self._begins[-1], bool)
        for shard, begin in zip(shards, self._begins, strict=False):
            is_good[[begin + index for index in shard.bad_images]] = False
        labels = np.concatenate([shard.labels for shard in shards[: len(shards) // num_views]])
        if self._in_memory:
            rows = _from_memory(self._features)
        else:
            paths = [self._store.data_path(number) for number in range(len(shards))]
            rows = _from_disk(paths, self._sizes, self._width)
        return FeatureTable(num_views, labels, is_good, rows)

    def _register(self, number: int, shard: FeatureShard) -> None:
        """Add a shard; its rows go into one array or stay on disk."""
        if self._in_memory:
            self._features[self._begins[number] : self._begins[number + 1]] = shard.features
        self._shards[number] = dataclasses.replace(shard, features=self._features[:0])


def _from_memory(features: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    with tf.device("CPU"):
        table = tf.constant(features)
    return lambda indices: tf.gather(table, indices)


def _from_disk(
    paths: Sequence[str], sizes: Sequence[int], width: int
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Read rows on demand from memory-mapped files."""
    begins = np.cumsum([0, *sizes])
    _allow_open_files(len(paths))
    try:
        maps = [
            np.memmap(path, "<f4", "r", shape=(size, width))
            for path, size in zip(paths, sizes, strict=True)
        ]
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        raise UserError(
            f"{paths[0]}: {len(paths):,} such files are open at once ({error.strerror}); raise the "
            "limit of open files, `ulimit -n`"
        ) from error

    def read(indices: np.ndarray) -> np.ndarray:
        number = np.searchsorted(begins, indices, side="right") - 1
        return np.stack(
            [maps[n][index - begins[n]] for n, index in zip(number, indices, strict=True)]
        ).astype(np.float32)

    def rows(indices: tf.Tensor) -> tf.Tensor:
        found = tf.numpy_function(read, [indices], tf.float32, stateful=False)
        return tf.ensure_shape(found, [*indices.shape, width])

    return rows


def _allow_open_files(count: int) -> None:
    """Raise the limit of open files by `count`, if allowed, since mapped files stay open.

    A million images use up a shell's usual 1,024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        wanted = soft + count if hard == resource.RLIM_INFINITY else min(soft + count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
