"""Features of a frozen backbone, computed once and kept, for this run and for others like it.

They lie under a digest of all that they depend on, in parts that are committed one by one: a kill
loses the part in hand. A part that does not verify is computed anew.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainer import identity, machine, storage
from trainer import strategy as strategies
from trainer.console import Voice
from trainer.data.feature_pipeline import FeatureTable
from trainer.data.feature_store import FeatureStore, Part
from trainer.data.input_pipeline import EXTRACTION_BATCH, InputPipeline
from trainer.data.source import shard_bounds
from trainer.errors import UserError
from trainer.preemption import StopRequest
from trainer.workers import Workers

# Raised when decoding or the graph change in a way that features show.
_FORMAT = 1

# At least so many parts, so that several workers share the work, and none of more examples: a kill
# loses two seconds at the most, and a bucket's requests are worth their time.
_FEWEST_PARTS, _LARGEST_PART = 8, 1024

# Of the memory that is free: more than that is read from the disk as it is needed. Taken three
# times for the moment in which TensorFlow makes a tensor of an array.
_MEMORY_SHARE = 0.25


@dataclasses.dataclass(frozen=True)
class FeatureCache:
    """Where the features of a run are kept, and how they are computed.

    Attributes:
        root: the directory of all such caches, local or gs://.
        computed_by: names what `features` computes, in JSON's types: the backbone and its input.
        features: images float32 [n, height, width, 3] in [0, 1] -> float32 [n, num_features].
        stop: asked after every batch; what is committed by then stays.
        workers: share the work.
        before_reading: called before images are read for the first time.
    """

    root: str
    pipeline: InputPipeline
    strategy: tf.distribute.Strategy
    computed_by: Mapping[str, Any]
    features: Callable[[tf.Tensor], tf.Tensor]
    num_features: int
    stop: StopRequest
    voice: Voice
    workers: Workers
    before_reading: Callable[[], None]

    def table(self, split: str, num_views: int, precision: str) -> FeatureTable:
        """The features of `split`, read where they are known and computed where not.

        Args:
            split: one of the source's.
            num_views: 0 for the images as they are, else how many augmented ones of each.
            precision: of the arithmetic, one of config.PRECISIONS but not `auto`.

        Raises:
            UserError: an image is bad and none may be; or the cache cannot be written to.
            Preempted: a signal came; the same command goes on here.
        """
        if not num_views and self.pipeline.augment != "none":
            plain = dataclasses.replace(self.pipeline, augment="none")
            return dataclasses.replace(self, pipeline=plain).table(split, 0, precision)
        num_examples = self.pipeline.source.num_examples(split)
        num_parts = min(num_examples, max(_FEWEST_PARTS, -(-num_examples // _LARGEST_PART)))
        units = range(num_parts * max(num_views, 1))
        sizes = [_size(num_examples, unit % num_parts, num_parts) for unit in units]
        begins = [0, *itertools.accumulate(sizes)]
        facts = self._facts(split, num_views, precision)
        directory = f"{self.root}/{facts['num_examples']}-{identity.digest(facts)}"
        store = FeatureStore(directory, len(units))
        num_bytes = begins[-1] * self.num_features * 4
        in_memory = num_bytes <= _MEMORY_SHARE * machine.available_memory()
        if not in_memory and storage.is_remote(directory):
            raise UserError(
                f"--feature_cache={self.root}: {num_bytes / 1e6:,.0f} MB of features are more than "
                "fits into memory, and from a bucket they cannot be read one by one; name a local "
                "directory"
            )
        features = np.empty([begins[-1] if in_memory else 0, self.num_features], np.float32)
        known: dict[int, Part] = {}

        def know(unit: int, part: Part) -> None:
            """All of a part but its rows, which lie in `features` or on the disk."""
            if in_memory:
                features[begins[unit] : begins[unit + 1]] = part.features
            known[unit] = dataclasses.replace(part, features=features[:0])

        def read_known() -> list[int]:
            """Reads what there is; the units that are missing."""
            for unit in units:
                if unit in known:
                    continue
                part, problem = store.read(unit, sizes[unit], self.num_features)
                if part is not None:
                    know(unit, part)
                elif problem:
                    self.voice.warn(f"{problem}; computing it anew")
            return [unit for unit in units if unit not in known]

        def compute(missing: Sequence[int]) -> None:
            for unit, part in self._computed(split, missing, num_parts, precision):
                store.write(unit, part)
                know(unit, part)

        missing = read_known()
        self.voice.say(
            f"features   of {split!r}: {len(known)} of {len(units)} parts are in {directory}"
            f" ({num_bytes / 1e6:,.0f} MB)",
            parts_cached=len(known),
            parts_computed=len(missing),
        )
        if missing:
            storage.ensure_directory(directory, "feature_cache")
            storage.write_json(f"{directory}/facts.json", facts)
        cluster = self.workers.cluster
        compute([unit for unit in missing if unit % cluster.num_workers == cluster.index])
        self.workers.agree(f"features of {split} are computed")
        # The other workers' share, unless they keep it where this one does not see it.
        compute(read_known())
        parts = [known[unit] for unit in units]
        for example_id, reason in sorted(
            what for part in parts for what in part.bad_images.values()
        ):
            self.pipeline.bad_images.must_be_known(example_id, reason)
        if in_memory:
            rows = _from_memory(features)
        else:
            rows = _from_disk([store.data_path(unit) for unit in units], sizes, self.num_features)
        is_good = np.ones(begins[-1], bool)
        for part, begin in zip(parts, begins, strict=False):
            is_good[[begin + place for place in part.bad_images]] = False
        labels = np.concatenate([part.labels for part in parts[:num_parts]])
        return FeatureTable(max(num_views, 1), labels, is_good, rows)

    def _facts(self, split: str, num_views: int, precision: str) -> dict[str, Any]:
        pipeline, source = self.pipeline, self.pipeline.source
        views = {"views": num_views, "augment": pipeline.augment, "seed": pipeline.seed}
        return {
            "format": _FORMAT,
            "data": source.digest,
            "split": split,
            "stamp": source.stamp(split),
            "num_examples": source.num_examples(split),
            "image_size": list(pipeline.image_size),
            **self.computed_by,
            "precision": precision,
            **(views if num_views else {}),
        }

    def _computed(
        self, split: str, missing: Sequence[int], num_parts: int, precision: str
    ) -> Iterator[tuple[int, Part]]:
        """Each missing unit as soon as it is complete, by the devices of this worker alone."""
        if not missing:
            return
        self.before_reading()
        replicas = self.strategy.num_replicas_in_sync // self.workers.cluster.num_workers
        num_examples = self.pipeline.source.num_examples(split)
        queues = [collections.deque(missing[replica::replicas]) for replica in range(replicas)]
        sizes = {unit: _size(num_examples, unit % num_parts, num_parts) for unit in missing}
        totals = [sum(sizes[unit] for unit in queue) for queue in queues]
        num_steps = -(-max(totals) // EXTRACTION_BATCH)
        units = [list(queue) for queue in queues]
        batches = iter(self.pipeline.extraction_batches(split, units, num_parts, num_steps))
        columns = ("label", "id", "is_good")

        def compute(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, ...]:
            return self.features(batch["input"]), *(batch[key] for key in columns)

        step = tf.function(lambda batch: self.strategy.run(compute, (batch,)), autograph=False)
        collected: list[list[list[np.ndarray]]] = [[] for _ in queues]
        done = 0
        for _ in range(num_steps):
            if self.stop.requested:
                raise self.stop.error("while computing features; the same command goes on")
            # Not a distributed data set: the workers have unequal shares, and it would wait.
            batch = self.strategy.experimental_distribute_values_from_function(
                lambda context: next(batches)
            )
            with strategies.arithmetic(precision):
                outputs = step(batch)
            self.workers.progress()
            for replica, queue in enumerate(queues):
                rows = [self.strategy.experimental_local_results(x)[replica] for x in outputs]
                collected[replica].append([row.numpy() for row in rows])
                while queue and sum(len(c[0]) for c in collected[replica]) >= sizes[queue[0]]:
                    unit = queue.popleft()
                    joined = [np.concatenate(c) for c in zip(*collected[replica], strict=True)]
                    yield unit, self._part(*(column[: sizes[unit]] for column in joined))
                    collected[replica] = [[column[sizes[unit] :] for column in joined]]
                    done += sizes[unit]
                    self.voice.advance("computing features", done, sum(totals))

    def _part(
        self, features: np.ndarray, labels: np.ndarray, ids: np.ndarray, is_good: np.ndarray
    ) -> Part:
        met = self.pipeline.bad_images.before_step(0)
        names = {place: ids[place].decode("utf-8", "replace") for place in np.flatnonzero(~is_good)}
        if "" in names.values():
            raise UserError(
                f"{self.pipeline.source.name}: holds fewer images than its description says, or "
                "one whose id is empty"
            )
        bad = {int(place): (name, met[name]) for place, name in names.items()}
        return Part(np.where(is_good[:, None], features, np.float32(0)), labels, bad)


def _size(num_examples: int, part: int, num_parts: int) -> int:
    begin, end = shard_bounds(num_examples, part, num_parts)
    return int(end) - int(begin)


def _from_memory(features: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    with tf.device("CPU"):
        table = tf.constant(features)
    return lambda places: tf.gather(table, places)


def _from_disk(
    paths: Sequence[str], sizes: Sequence[int], width: int
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Rows read as they are asked for; what the system keeps of the files is its to decide."""
    begins = np.cumsum([0, *sizes])
    maps = [
        np.memmap(path, "<f4", "r", shape=(size, width))
        for path, size in zip(paths, sizes, strict=True)
    ]

    def read(places: np.ndarray) -> np.ndarray:
        number = np.searchsorted(begins, places, side="right") - 1
        return np.stack(
            [maps[n][place - begins[n]] for n, place in zip(number, places, strict=True)]
        ).astype(np.float32)

    def rows(places: tf.Tensor) -> tf.Tensor:
        found = tf.numpy_function(read, [places], tf.float32, stateful=False)
        return tf.ensure_shape(found, [*places.shape, width])

    return rows
