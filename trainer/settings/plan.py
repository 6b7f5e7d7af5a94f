"""Epochs and seconds become steps here, once; and the one answer to "is it time?"."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable

from trainer.process.errors import UserError
from trainer.settings.config import Config

DEFAULT_EPOCHS = 10

_FEW = 0.1  # the share of the training examples that may be left out without a word


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long a run is and when things happen, all in steps.

    Attributes:
        steps_per_epoch: full global batches in one pass over the training examples.
        num_steps: the last step.
        eval_every_steps: steps between evaluations; the last step is evaluated too.
    """

    steps_per_epoch: int
    num_steps: int
    eval_every_steps: int

    def is_evaluation(self, step: int) -> bool:
        """Whether the weights after `step` steps are to be evaluated."""
        return step > 0 and (step % self.eval_every_steps == 0 or step == self.num_steps)

    def next_evaluation(self, step: int) -> int:
        """The first evaluation after `step`."""
        return min(self.num_steps, (step // self.eval_every_steps + 1) * self.eval_every_steps)

    def epoch(self, step: int) -> float:
        """The number of passes over the training examples that `step` steps make."""
        return step / self.steps_per_epoch


def plan(config: Config, num_examples: int) -> Plan:
    """Turn the run's length and cadence into steps.

    Args:
        config: the run.
        num_examples: how many training examples there are.

    Raises:
        UserError: the examples do not fill one batch, or warm-up is longer than the run.
    """
    steps_per_epoch = num_examples // config.global_batch_size
    if steps_per_epoch == 0:
        raise UserError(
            f"--global_batch_size={config.global_batch_size}: must be at most the number of "
            f"training examples, {num_examples}{_fitting(config, num_examples)}"
        )
    num_steps = config.num_steps or (config.num_epochs or DEFAULT_EPOCHS) * steps_per_epoch
    if config.warmup_steps >= num_steps:
        raise UserError(
            f"--warmup_steps={config.warmup_steps}: must be below the run's {num_steps} steps"
        )
    return Plan(steps_per_epoch, num_steps, config.eval_every_epochs * steps_per_epoch)


def _fitting(config: Config, num_examples: int) -> str:
    """The remedy: the largest power of two that the examples fill and the other settings allow."""
    for power in reversed(range(num_examples.bit_length())):
        with contextlib.suppress(UserError):
            dataclasses.replace(config, global_batch_size=2**power)
            return f"; use --global_batch_size={2**power}"
    return ""


def warning_of_unused(num_examples: int, global_batch_size: int) -> str:
    """What to say of the examples that fill no batch, where they are many; empty where few.

    Args:
        num_examples: how many training examples there are.
        global_batch_size: how many of them a step takes.
    """
    unused = num_examples % global_batch_size
    if unused <= _FEW * num_examples:
        return ""
    return (
        f"--global_batch_size={global_batch_size}: leaves {unused:,} of {num_examples:,} training "
        f"images ({unused / num_examples:.0%}) out of each epoch, others each time, because they "
        "do not fill a batch; a smaller one leaves out fewer"
    )


DEFAULT_SECS = 30.0


class CheckpointTimer:
    """Says when a checkpoint is due: every so many steps, or every so many seconds.

    Args:
        every_steps: steps between checkpoints, or None.
        every_secs: seconds between checkpoints; DEFAULT_SECS where both are None.
        clock: seconds since some fixed time; `time.monotonic` outside of tests.
    """

    def __init__(
        self, every_steps: int | None, every_secs: float | None, clock: Callable[[], float]
    ) -> None:
        self._every_steps = every_steps
        self._every_secs = DEFAULT_SECS if every_secs is None else every_secs
        self._clock = clock
        self._last = clock()

    def next_step(self, step: int, last_step: int) -> int:
        """The next step, `last_step` at most, that must be a loop boundary for checkpoints."""
        if self._every_steps is None:
            return last_step
        return min(last_step, (step // self._every_steps + 1) * self._every_steps)

    def is_due(self, step: int) -> bool:
        """Whether the loop boundary after `step` steps should save."""
        if self._every_steps is not None:
            return step % self._every_steps == 0
        return self._clock() - self._last >= self._every_secs

    def saved(self) -> None:
        """Note that a checkpoint was saved now, for whatever reason."""
        self._last = self._clock()


class LoopLength:
    """How many steps run between two loop boundaries, learnt from how long they take.

    A boundary costs a host synchronisation, so it should be rare; a SIGTERM is answered at one,
    so it must come every few seconds.

    Args:
        target_secs: what a loop should last.
        limit: the most steps between two boundaries.
    """

    def __init__(self, target_secs: float = 1.0, limit: int = 1000) -> None:
        self._target_secs = target_secs
        self._limit = limit
        self.steps = 1

    def took(self, num_steps: int, secs: float) -> None:
        """Learn from a loop of `num_steps` steps that lasted `secs` seconds; of none, nothing."""
        if not num_steps:
            return
        fitting = int(self._target_secs * num_steps / max(secs, 1e-9))
        # At most doubled: the first loops carry tracing and cold caches.
        self.steps = max(1, min(fitting, 2 * self.steps, self._limit))
