"""Compute the features of images by a frozen backbone, on all devices of this worker."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from trainer.data.feature_store import FeatureShard
from trainer.data.input_pipeline import EXTRACTION_BATCH, InputPipeline
from trainer.engine import strategy as strategies
from trainer.graph.plain_pipeline import skip_determinism_check
from trainer.process.console import Reporter
from trainer.process.errors import UserError
from trainer.process.stop_signal import StopRequest
from trainer.workers.group import WorkerGroup

# The columns of a batch that are kept with its features.
_COLUMNS = ("label", "id", "is_good")

# Batches computed at a time. An operation ends with its slowest thread, which often shares its core
# with a decoder; meanwhile the other threads compute the other batch.
_AT_ONCE = 2

# Features and _COLUMNS of a batch, for each replica.
_Outputs = list[list[np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Extraction:
    """Computes features.

    Attributes:
        pipeline: reads the images.
        features: images float32 [n, height, width, 3] in [0, 1] -> float32 [n, num_features].
        stop: checked after every batch.
        workers: whose heartbeat counts every batch as progress.
        before_reading: called before images are read for the first time.
    """

    pipeline: InputPipeline
    strategy: tf.distribute.Strategy
    features: Callable[[tf.Tensor], tf.Tensor]
    stop: StopRequest
    reporter: Reporter
    workers: WorkerGroup
    before_reading: Callable[[], None]

    def shards(
        self, split: str, sizes: Mapping[int, int], num_parts: int, precision: str
    ) -> Iterator[tuple[int, FeatureShard]]:
        """Yield each shard with its number as soon as it is complete.

        Args:
            split: one of the source's.
            sizes: examples of each wanted shard; shard `view * num_parts + i` has view `view` of
                part `i` of the split.
            num_parts: the number of parts of the split.
            precision: of the arithmetic, one of choices.PRECISIONS except `auto`.

        Raises:
            UserError: an image is broken and none may be skipped.
            Preempted: a signal came.
        """
        if not sizes:
            return
        self.before_reading()
        replicas = self.strategy.num_replicas_in_sync // self.workers.cluster.num_workers
        units = [list(sizes)[replica::replicas] for replica in range(replicas)]
        totals = [sum(sizes[number] for number in unit) for unit in units]
        num_steps = -(-max(totals) // EXTRACTION_BATCH)
        batches = self.pipeline.extraction_batches(split, units, num_parts, num_steps)
        queues = [collections.deque(unit) for unit in units]
        collected: list[list[list[np.ndarray]]] = [[] for _ in queues]
        done = 0
        for outputs in self._outputs(batches, num_steps, precision):
            for replica, queue in enumerate(queues):
                collected[replica].append(outputs[replica])
                while queue and sum(len(c[0]) for c in collected[replica]) >= sizes[queue[0]]:
                    number = queue.popleft()
                    size = sizes[number]
                    joined = [np.concatenate(c) for c in zip(*collected[replica], strict=True)]
                    yield number, self._shard(*(column[:size] for column in joined))
                    collected[replica] = [[column[size:] for column in joined]]
                    done += size
                    self.reporter.advance("computing features", done, sum(totals))

    def _outputs(
        self, dataset: tf.data.Dataset, num_steps: int, precision: str
    ) -> Iterator[_Outputs]:
        """Yield the outputs of each step."""
        with skip_determinism_check():
            batches = iter(dataset)

        def compute(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, ...]:
            return self.features(batch["input"]), *(batch[key] for key in _COLUMNS)

        step = tf.function(lambda batch: self.strategy.run(compute, (batch,)), autograph=False)

        def outputs(batch: dict[str, tf.Tensor]) -> _Outputs:
            columns = [self.strategy.experimental_local_results(x) for x in step(batch)]
            return [[x.numpy() for x in row] for row in zip(*columns, strict=True)]

        ahead: collections.deque[Future[_Outputs]] = collections.deque()
        # A thread keeps the arithmetic of its first computation, so the pool lives within.
        with strategies.arithmetic(precision), ThreadPoolExecutor(_AT_ONCE) as pool:
            for number in range(num_steps):
                if self.stop.requested:
                    raise self.stop.error("while computing features; the same command resumes")
                # Not a distributed data set, which would wait for workers with more steps.
                batch = self.strategy.experimental_distribute_values_from_function(
                    lambda context: next(batches)
                )
                ahead.append(pool.submit(outputs, batch))
                # The first batch alone, since it traces; then keep one batch waiting.
                drains = number in (0, num_steps - 1)
                while ahead and (drains or len(ahead) > _AT_ONCE):
                    self.workers.record_progress()
                    yield ahead.popleft().result()

    def _shard(
        self, features: np.ndarray, labels: np.ndarray, ids: np.ndarray, is_good: np.ndarray
    ) -> FeatureShard:
        reasons = self.pipeline.bad_images.before_step(0)
        names = {index: ids[index].decode("utf-8", "replace") for index in np.flatnonzero(~is_good)}
        if "" in names.values():
            raise UserError(
                f"{self.pipeline.source.name}: holds fewer images than its description says, or "
                "one whose id is empty"
            )
        bad = {int(index): (name, reasons[name]) for index, name in names.items()}
        return FeatureShard(np.where(is_good[:, None], features, np.float32(0)), labels, bad)
