"""Evaluate every example of a split exactly once, on any number of replicas."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.engine import mistakes
from trainer.engine.mistakes import Mistake
from trainer.engine.scored_examples import ScoredExamples
from trainer.process.errors import UserError
from trainer.workers.group import WorkerGroup


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The metrics of a model on a split.

    Attributes:
        loss: mean cross-entropy over the examples, in nats.
        confusion: int64 [classes, classes], examples by (label, prediction).
        class_names: in the order of both axes.
        worst: the worst mistakes, the worst first, where the examples' indices are known.
        scored: the single examples, if they were kept.
    """

    loss: float
    confusion: np.ndarray
    class_names: tuple[str, ...]
    worst: tuple[Mistake, ...] = ()
    scored: ScoredExamples | None = None

    @property
    def num_examples(self) -> int:
        """The number of scored examples: all but padding and broken images."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of examples that are predicted as their label."""
        return float(np.trace(self.confusion) / max(self.num_examples, 1))

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `metrics.json`; precision and recall are null if undefined."""
        hits = np.diag(self.confusion)
        labels, predictions = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        return {
            "num_examples": self.num_examples,
            "loss": self.loss,
            "accuracy": self.accuracy,
            "per_class": {
                name: {
                    "num_examples": int(labels[i]),
                    "precision": _ratio(hits[i], predictions[i]),
                    "recall": _ratio(hits[i], labels[i]),
                }
                for i, name in enumerate(self.class_names)
            },
            "confusion_matrix": self.confusion.tolist(),
        }


class Evaluator:
    """Evaluates one split repeatedly during training; traced once.

    Args:
        strategy: where it runs.
        logits: a batch's "input" -> float32 [batch, classes].
        batches: the split's padded global batches, pass after pass without end; see
            OrderedBatches.evaluation_batches.
        num_steps: batches of a pass.
        class_names: in the order of the logits.
        should_stop: called before each batch; True cancels the evaluation.
        workers: each scores the examples of its own replicas.
        indices: int64 [num_steps, rows], of this worker's examples in the split; see
            OrderedBatches.evaluation_indices. None records no single examples.
        num_examples: of the split; needed with `indices`.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        logits: Callable[[tf.Tensor], tf.Tensor],
        batches: Iterator[Any],
        num_steps: int,
        class_names: tuple[str, ...],
        should_stop: Callable[[], bool],
        workers: WorkerGroup | None = None,
        indices: np.ndarray | None = None,
        num_examples: int = 0,
    ) -> None:
        self._indices = indices
        self._num_examples = num_examples
        self._strategy = strategy
        self._batches = batches
        self._num_steps = num_steps
        self._class_names = class_names
        self._should_stop = should_stop
        self._workers = workers = workers or WorkerGroup()

        def score(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, ...]:
            outputs = logits(batch["input"])
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["label"], outputs)
            predictions = tf.argmax(outputs, axis=-1)
            confidence = tf.reduce_max(tf.nn.softmax(outputs), axis=-1)
            return batch["label"], predictions, losses, batch["weight"], confidence

        def add_up(values: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            of_worker = strategy.num_replicas_in_sync // workers.cluster.num_workers
            is_first = context.replica_id_in_sync_group % of_worker == 0
            own = tf.where(is_first, values, tf.zeros_like(values))
            return context.all_reduce(tf.distribute.ReduceOp.SUM, own)

        self._add_up = tf.function(
            lambda values: strategy.run(add_up, args=(values,)), autograph=False
        )
        self._score = tf.function(lambda batch: strategy.run(score, args=(batch,)), autograph=False)

    def run(self, keep_scored: bool = False) -> Evaluation | None:
        """Evaluate the current weights on the split; return None if cancelled.

        Args:
            keep_scored: whether to return the single examples, on all workers.

        Raises:
            UserError: no image could be decoded.
        """
        num_classes = len(self._class_names)
        confusion = np.zeros((num_classes, num_classes), np.int64)
        losses: list[np.ndarray] = []
        wrong: list[Mistake] = []
        kept: list[tuple[np.ndarray, ...]] = []
        for step in range(self._num_steps):
            if self._should_stop():
                break
            self._workers.record_progress()
            outputs = self._score(next(self._batches))
            columns = [self._strategy.experimental_local_results(column) for column in outputs]
            label, prediction, loss, weight, confidence = (
                np.concatenate([part.numpy() for part in column]) for column in columns
            )
            real = weight > 0
            np.add.at(confusion, (label[real], prediction[real]), 1)
            losses.append(loss[real])
            if self._indices is not None:
                scored = (column[real] for column in (loss, self._indices[step], label, prediction))
                wrong += mistakes.worst(*scored)
            if keep_scored and self._indices is not None:
                of_label = np.exp(-loss)
                kept.append((label, prediction, confidence, of_label, real, self._indices[step]))
        if self._workers.all_reduce_sum("evaluation", stop=float(self._should_stop()))["stop"]:
            return None
        every = np.concatenate(losses).astype(np.float64)
        loss_sum = every.sum()
        if self._workers.cluster.is_distributed:
            sums = self._strategy.experimental_local_results(
                self._add_up(tf.constant([loss_sum, *confusion.ravel()], tf.float64))
            )[0].numpy()
            loss_sum, confusion = sums[0], sums[1:].reshape(confusion.shape).astype(np.int64)
        merged = self._workers.all_gather(
            "worst mistakes", mistakes.to_facts(mistakes.worst_of(wrong))
        )
        evaluation = Evaluation(
            float(loss_sum / max(confusion.sum(), 1)),
            confusion,
            self._class_names,
            tuple(mistakes.from_facts(merged)),
            self._in_order(kept) if kept else None,
        )
        if not evaluation.num_examples:
            raise UserError("no image to evaluate on could be decoded")
        return evaluation

    def _in_order(self, kept: list[tuple[np.ndarray, ...]]) -> ScoredExamples:
        """Merge the examples of all workers, in the split's order."""
        label, prediction, confidence, of_label, real, indices = (
            np.concatenate(parts) for parts in zip(*kept, strict=True)
        )
        own = ScoredExamples(label, prediction, confidence, of_label, real).columns()
        columns = np.zeros([len(own), self._num_examples])
        columns[:, indices[real]] = own[:, real]
        if self._workers.cluster.is_distributed:
            sums = self._add_up(tf.constant(columns))  # each example is one worker's
            columns = self._strategy.experimental_local_results(sums)[0].numpy()
        return ScoredExamples.from_columns(columns)


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
