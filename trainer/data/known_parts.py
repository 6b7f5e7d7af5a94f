"""The parts of a split's features as they come to be known: read, or computed and written."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import resource
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from trainer.data.feature_pipeline import FeatureTable
from trainer.data.feature_store import FeatureStore, Part
from trainer.process.errors import UserError


class FeatureShards:
    """What is known of the parts in `store`.

    Args:
        store: where they are kept.
        sizes: examples of each part.
        width: values of a row of features.
        in_memory: keep the rows here; else they are read from the files as they are asked for.
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
        self._parts: dict[int, Part] = {}

    @property
    def missing(self) -> list[int]:
        """The parts that are not known yet."""
        return [number for number in range(len(self._sizes)) if number not in self._parts]

    def read(self) -> Iterator[str]:
        """Read what is kept of the missing ones; yields for each what is wrong with it, or ""."""
        for number in self.missing:
            part, problem = self._store.read(number, self._sizes[number], self._width)
            if part is not None:
                self._register(number, part)
            yield problem

    def write(self, number: int, part: Part) -> None:
        """Commit a part, and know it.

        Raises:
            UserError: see the store's.
        """
        self._store.write(number, part)
        self._register(number, part)

    def bad_images(self) -> list[tuple[str, str]]:
        """Id of each, and what is wrong with it; by id."""
        return sorted(what for part in self._parts.values() for what in part.bad_images.values())

    def table(self, num_views: int) -> FeatureTable:
        """All parts together, which are known by now; `num_views` after one another.

        Raises:
            UserError: the system does not let so many files be open.
        """
        parts = [self._parts[number] for number in range(len(self._sizes))]
        is_good = np.ones(self._begins[-1], bool)
        for part, begin in zip(parts, self._begins, strict=False):
            is_good[[begin + index for index in part.bad_images]] = False
        labels = np.concatenate([part.labels for part in parts[: len(parts) // num_views]])
        if self._in_memory:
            rows = _from_memory(self._features)
        else:
            paths = [self._store.data_path(number) for number in range(len(parts))]
            rows = _from_disk(paths, self._sizes, self._width)
        return FeatureTable(num_views, labels, is_good, rows)

    def _register(self, number: int, part: Part) -> None:
        """All of a part but its rows, which lie in one array or on the disk."""
        if self._in_memory:
            self._features[self._begins[number] : self._begins[number + 1]] = part.features
        self._parts[number] = dataclasses.replace(part, features=self._features[:0])


def _from_memory(features: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    with tf.device("CPU"):
        table = tf.constant(features)
    return lambda indices: tf.gather(table, indices)


def _from_disk(
    paths: Sequence[str], sizes: Sequence[int], width: int
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Rows read as they are asked for; what the system keeps of the files is its to decide."""
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
            f"{paths[0]}: {len(paths):,} such files are read at once ({error.strerror}); raise the "
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
    """So many more than before, as far as the system lets a process: a mapped file stays open.

    A shell's usual 1,024 are spent on a million images.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        wanted = soft + count if hard == resource.RLIM_INFINITY else min(soft + count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
