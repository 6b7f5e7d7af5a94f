"""Every example of a split, exactly once, on any number of replicas."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainer import mistakes
from trainer.errors import UserError
from trainer.mistakes import Mistake
from trainer.workers import Workers


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How a model did on a split.

    Attributes:
        loss: mean cross-entropy over the examples, in nats.
        confusion: int64 [classes, classes], examples by (label, prediction).
        class_names: in the order of both axes.
        worst: the worst mistakes, the worst first, where the places of the examples are known.
    """

    loss: float
    confusion: np.ndarray
    class_names: tuple[str, ...]
    worst: tuple[Mistake, ...] = ()

    @property
    def num_examples(self) -> int:
        """How many examples were scored: all but padding and skipped images."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of examples whose highest score is their label's."""
        return float(np.trace(self.confusion) / max(self.num_examples, 1))

    def to_dict(self) -> dict[str, Any]:
        """As `metrics.json` holds it; precision and recall are null where nothing divides."""
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
    """Scores one split again and again while its model learns; traced once.

    Args:
        strategy: where it runs.
        logits: a batch's "input" -> float32 [batch, classes].
        batches: the split's padded global batches, pass after pass without end; see
            InputPipeline.evaluation_batches.
        num_steps: how many make a pass.
        class_names: in the order of the logits.
        should_stop: asked before each batch; True gives the evaluation up.
        workers: each of them scores the examples of its own replicas.
        first_places: of each replica of this worker, where its part of the split begins.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        logits: Callable[[tf.Tensor], tf.Tensor],
        batches: Iterator[Any],
        num_steps: int,
        class_names: tuple[str, ...],
        should_stop: Callable[[], bool],
        workers: Workers | None = None,
        first_places: Sequence[int] = (0,),
    ) -> None:
        self._strategy = strategy
        self._batches = batches
        self._num_steps = num_steps
        self._class_names = class_names
        self._should_stop = should_stop
        self._workers = workers = workers or Workers()
        self._first_places = first_places

        def score(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, ...]:
            outputs = logits(batch["input"])
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["label"], outputs)
            predictions = tf.argmax(outputs, axis=-1)
            return batch["label"], predictions, losses, batch["weight"]

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

    def run(self) -> Evaluation | None:
        """Score the split with the weights as they are; None, and no more, if asked to stop.

        Raises:
            UserError: not one image could be decoded.
        """
        num_classes = len(self._class_names)
        confusion = np.zeros((num_classes, num_classes), np.int64)
        losses: list[np.ndarray] = []
        wrong: list[Mistake] = []
        for step in range(self._num_steps):
            if self._should_stop():
                break
            self._workers.progress()
            outputs = self._score(next(self._batches))
            columns = [self._strategy.experimental_local_results(column) for column in outputs]
            label, prediction, loss, weight = (
                np.concatenate([part.numpy() for part in column]) for column in columns
            )
            real = weight > 0
            np.add.at(confusion, (label[real], prediction[real]), 1)
            losses.append(loss[real])
            places = self._places(step, [len(part) for part in columns[0]])
            scored = (column[real] for column in (loss, places, label, prediction))
            wrong += mistakes.worst(*scored)
        if self._workers.agree("evaluation", stop=float(self._should_stop()))["stop"]:
            return None
        every = np.concatenate(losses).astype(np.float64)
        loss_sum = every.sum()
        if self._workers.cluster.is_distributed:
            sums = self._strategy.experimental_local_results(
                self._add_up(tf.constant([loss_sum, *confusion.ravel()], tf.float64))
            )[0].numpy()
            loss_sum, confusion = sums[0], sums[1:].reshape(confusion.shape).astype(np.int64)
        told = self._workers.union("worst mistakes", mistakes.to_facts(mistakes.worst_of(wrong)))
        evaluation = Evaluation(
            float(loss_sum / max(confusion.sum(), 1)),
            confusion,
            self._class_names,
            tuple(mistakes.from_facts(told)),
        )
        if not evaluation.num_examples:
            raise UserError("no image to evaluate on could be decoded")
        return evaluation

    def _places(self, step: int, sizes: Sequence[int]) -> np.ndarray:
        """Of a step's examples, replica after replica; what is beyond a part is padding."""
        return np.concatenate(
            [
                first + step * size + np.arange(size)
                for first, size in zip(self._first_places, sizes, strict=True)
            ]
        )


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
