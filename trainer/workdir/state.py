"""What a run remembers beside its weights; saved with every checkpoint, exact when read back."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple


class StepMetrics(NamedTuple):
    """What one step reports of itself, over the global batch.

    Attributes:
        loss_sum: of the examples' losses as trained on, in nats.
        num_correct: examples whose highest score was at their (heaviest) label.
        num_seen: examples that could be decoded.
        gradient_norm: global norm of the mean gradient, before clipping; 0 where it is not applied
            since it overflows in float16.
    """

    loss_sum: float
    num_correct: float
    num_seen: float
    gradient_norm: float


@dataclasses.dataclass
class RunState:
    """The host's half of a checkpoint.

    Attributes:
        global_step: steps done.
        loss_sum, num_correct, num_seen: of the rows since the last whole epoch.
        has_seen: whether any image could be decoded so far.
        recent: the rows since the last point of the training curves.
        train: {"loss", "accuracy"} of the last whole epoch, or of what there is of the first.
        evaluated_step: the last step whose weights were evaluated; -1 before any.
        best: {"global_step", "accuracy", "loss"} of the best evaluation; empty before any.
        evaluations_since_best: what early stopping counts.
        stopped_early: whether early stopping ended the run; see judge.
        rolled_back: whether the one roll-back after a non-finite loss is spent.
        skipped: reason by example id, for each broken image met so far.
        wall_secs: of all the run's processes so far, each from its start.
        examples_per_sec: of the last stretch of training that was timed.
        timed_secs, waited_secs: of all such stretches, and how long of them the steps waited for
            their batches.
    """

    global_step: int = 0
    loss_sum: float = 0.0
    num_correct: float = 0.0
    num_seen: float = 0.0
    has_seen: bool = False
    recent: list[StepMetrics] = dataclasses.field(default_factory=list)
    train: dict[str, float] = dataclasses.field(default_factory=dict)
    evaluated_step: int = -1
    best: dict[str, Any] = dataclasses.field(default_factory=dict)
    evaluations_since_best: int = 0
    stopped_early: bool = False
    rolled_back: bool = False
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    wall_secs: float = 0.0
    examples_per_sec: float = 0.0
    timed_secs: float = 0.0
    waited_secs: float = 0.0

    @property
    def input_wait(self) -> float:
        """The share of its time that training waits for data, in [0, 1]."""
        return self.waited_secs / self.timed_secs if self.timed_secs else 0.0

    def to_dict(self) -> dict[str, Any]:
        """As JSON's types; Python's JSON keeps every bit of a float."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunState:
        """The inverse of to_dict."""
        return cls(**{**values, "recent": [StepMetrics(*row) for row in values["recent"]]})

    def running(self) -> dict[str, float]:
        """{"loss", "accuracy"} of the epoch in hand, or of the last one where none has begun."""
        if not self.num_seen:
            return self.train
        return {
            "loss": self.loss_sum / self.num_seen,
            "accuracy": self.num_correct / self.num_seen,
        }

    def take_recent(self) -> dict[str, float]:
        """The means over the recent rows, by the tags of the training curves; forgets the rows."""
        seen = max(sum(row.num_seen for row in self.recent), 1.0)
        point = {
            "loss": sum(row.loss_sum for row in self.recent) / seen,
            "accuracy": sum(row.num_correct for row in self.recent) / seen,
            "gradient_norm": sum(row.gradient_norm for row in self.recent) / len(self.recent),
        }
        self.recent = []
        return point

    def add_step(self, row: StepMetrics, steps_per_epoch: int) -> None:
        """Count one step; once for each, in order: sums of floats do not commute."""
        self.global_step += 1
        self.recent.append(row)
        self.loss_sum += row.loss_sum
        self.num_correct += row.num_correct
        self.num_seen += row.num_seen
        self.has_seen = self.has_seen or row.num_seen > 0
        is_whole = self.global_step % steps_per_epoch == 0
        if is_whole or self.global_step < steps_per_epoch:
            seen = max(self.num_seen, 1.0)
            self.train = {"loss": self.loss_sum / seen, "accuracy": self.num_correct / seen}
        if is_whole:
            self.loss_sum = self.num_correct = self.num_seen = 0.0

    def add_evaluation(self, accuracy: float, loss: float, patience: int) -> bool:
        """Note an evaluation of the present weights; returns whether it is the best so far.

        Better is a higher accuracy, or the same with a lower loss. `patience` evaluations in a
        row without a better one stop the run; 0 never does.
        """
        self.evaluated_step = self.global_step
        best = (self.best.get("accuracy", -math.inf), -self.best.get("loss", math.inf))
        is_best = (accuracy, -loss) > best
        if is_best:
            self.best = {"global_step": self.global_step, "accuracy": accuracy, "loss": loss}
            self.evaluations_since_best = 0
        else:
            self.evaluations_since_best += 1
        self.update_early_stopping(patience)
        return is_best

    def is_over(self, num_steps: int) -> bool:
        """Whether training has ended: at `num_steps` or early, and its last weights evaluated."""
        is_last = self.global_step >= num_steps or self.stopped_early
        return is_last and self.evaluated_step == self.global_step

    def update_early_stopping(self, patience: int) -> None:
        """Say whether early stopping ends the run here, with a `patience` that may be a new one."""
        self.stopped_early = 0 < patience <= self.evaluations_since_best
