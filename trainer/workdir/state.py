"""The state of a run beside its weights; every checkpoint stores it exactly."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple


class StepMetrics(NamedTuple):
    """Metrics of one step over the global batch.

    Attributes:
        loss_sum: sum of the examples' training losses, in nats.
        num_correct: examples whose highest score is at their (heaviest) label.
        num_seen: examples that could be decoded.
        gradient_norm: global norm of the mean gradient, before clipping; 0 if it overflowed in
            float16 and was not applied.
    """

    loss_sum: float
    num_correct: float
    num_seen: float
    gradient_norm: float


@dataclasses.dataclass
class RunState:
    """The host's part of a checkpoint.

    Attributes:
        global_step: steps done.
        loss_sum, num_correct, num_seen: sums over the steps of the current epoch.
        has_seen: whether any image could be decoded so far.
        recent: the steps since the last point of the training curves.
        train: {"loss", "accuracy"} of the last complete epoch, or of the first one so far.
        evaluated_step: the last step whose weights were evaluated; -1 before any.
        best: {"global_step", "accuracy", "loss"} of the best evaluation; empty before any.
        evaluations_since_best: counted for early stopping.
        stopped_early: whether early stopping ended the run; see update_early_stopping.
        rolled_back: whether the one rollback after a non-finite loss is used up.
        skipped: reason by example id, for each broken image so far.
        wall_secs: of all the run's processes so far, each from its start.
        examples_per_sec: of the last timed interval of training.
        timed_secs, waited_secs: total of the timed intervals, and of their input waits.
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
        """The fraction of the training time spent waiting for data, in [0, 1]."""
        return self.waited_secs / self.timed_secs if self.timed_secs else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types; Python's JSON preserves floats exactly."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunState:
        """Restore what to_dict returned."""
        return cls(**{**values, "recent": [StepMetrics(*row) for row in values["recent"]]})

    def epoch_means(self) -> dict[str, float]:
        """Return {"loss", "accuracy"} of the current epoch, or of the last if none has begun."""
        if not self.num_seen:
            return self.train
        return {
            "loss": self.loss_sum / self.num_seen,
            "accuracy": self.num_correct / self.num_seen,
        }

    def pop_recent_means(self) -> dict[str, float]:
        """Return the means over the recent steps, by curve tag, and clear them."""
        seen = max(sum(row.num_seen for row in self.recent), 1.0)
        point = {
            "loss": sum(row.loss_sum for row in self.recent) / seen,
            "accuracy": sum(row.num_correct for row in self.recent) / seen,
            "gradient_norm": sum(row.gradient_norm for row in self.recent) / len(self.recent),
        }
        self.recent = []
        return point

    def add_step(self, row: StepMetrics, steps_per_epoch: int) -> None:
        """Add one step; call in order, because float addition is not associative."""
        self.global_step += 1
        self.recent.append(row)
        self.loss_sum += row.loss_sum
        self.num_correct += row.num_correct
        self.num_seen += row.num_seen
        self.has_seen = self.has_seen or row.num_seen > 0
        is_epoch_end = self.global_step % steps_per_epoch == 0
        if is_epoch_end or self.global_step < steps_per_epoch:
            seen = max(self.num_seen, 1.0)
            self.train = {"loss": self.loss_sum / seen, "accuracy": self.num_correct / seen}
        if is_epoch_end:
            self.loss_sum = self.num_correct = self.num_seen = 0.0

    def add_evaluation(self, accuracy: float, loss: float, patience: int) -> bool:
        """Record an evaluation of the current weights; return whether it is the best so far.

        Better is a higher accuracy, or the same with a lower loss. `patience` consecutive
        evaluations without improvement stop the run; 0 never does.
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
        """Whether training ended, at `num_steps` or early, and its last weights were evaluated."""
        is_last = self.global_step >= num_steps or self.stopped_early
        return is_last and self.evaluated_step == self.global_step

    def update_early_stopping(self, patience: int) -> None:
        """Update `stopped_early`, because a resumed run may have another `patience`."""
        self.stopped_early = 0 < patience <= self.evaluations_since_best
