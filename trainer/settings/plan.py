"""Convert epochs and seconds to steps, and decide when evaluations and checkpoints are due."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable

from trainer.process.errors import UserError
from trainer.settings.config import Config

DEFAULT_EPOCHS = 10

_MAX_UNUSED = 0.1  # fraction of the training examples left out without a warning


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run's length and evaluation interval in steps.

    Attributes:
        steps_per_epoch: full global batches in one pass over the training examples.
        num_steps: the last step.
        eval_every_steps: steps between evaluations; the last step is evaluated too.
    """

    steps_per_epoch: int
    num_steps: int
    eval_every_steps: int

    def is_evaluation(self, step: int) -> bool:
        """Whether to evaluate the weights after `step` steps."""
        return step > 0 and (step % self.eval_every_steps == 0 or step == self.num_steps)

    def next_evaluation(self, step: int) -> int:
        """Return the step of the first evaluation after `step`."""
        return min(self.num_steps, (step // self.eval_every_steps + 1) * self.eval_every_steps)

    def epoch(self, step: int) -> float:
        """Return the number of epochs in `step` steps."""
        return step / self.steps_per_epoch


def plan(config: Config, num_examples: int) -> Plan:
    """Convert the run's length and evaluation interval into steps.

    Args:
        config: the run.
        num_examples: number of training examples.

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
    """Suggest the largest power of two that the examples fill and the other settings allow."""
    for power in reversed(range(num_examples.bit_length())):
        with contextlib.suppress(UserError):
            dataclasses.replace(config, global_batch_size=2**power)
            return f"; use --global_batch_size={2**power}"
    return ""


def unused_examples_warning(num_examples: int, global_batch_size: int) -> str:
    """Return a warning if many examples fill no batch; empty if few.

    Args:
        num_examples: number of training examples.
        global_batch_size: examples per step.
    """
    unused = num_examples % global_batch_size
    if unused <= _MAX_UNUSED * num_examples:
        return ""
    return (
        f"--global_batch_size={global_batch_size}: leaves {unused:,} of {num_examples:,} training "
        f"images ({unused / num_examples:.0%}) out of each epoch, different ones each time, "
        "because they do not fill a batch; a smaller one leaves out fewer"
    )


DEFAULT_SECS = 30.0


class CheckpointTimer:
    """Decides when a checkpoint is due: every N steps, or every N seconds.

    Args:
        every_steps: steps between checkpoints, or None.
        every_secs: seconds between checkpoints; DEFAULT_SECS if both are None.
        clock: monotonic seconds.
    """

    def __init__(
        self, every_steps: int | None, every_secs: float | None, clock: Callable[[], float]
    ) -> None:
        self._every_steps = every_steps
        self._every_secs = DEFAULT_SECS if every_secs is None else every_secs
        self._clock = clock
        self._last = clock()

    def next_step(self, step: int, last_step: int) -> int:
        """Return the next step, at most `last_step`, that must be a loop boundary."""
        if self._every_steps is None:
            return last_step
        return min(last_step, (step // self._every_steps + 1) * self._every_steps)

    def is_due(self, step: int) -> bool:
        """Whether to save at the loop boundary after `step` steps."""
        if self._every_steps is not None:
            return step % self._every_steps == 0
        return self._clock() - self._last >= self._every_secs

    def reset(self) -> None:
        """Restart the interval, because a checkpoint was saved."""
        self._last = self._clock()


class LoopLength:
    """Adapts the number of steps between two loop boundaries to their duration.

    A boundary costs a host synchronization, so it should be rare; SIGTERM is handled there, so it
    must come every few seconds.

    Args:
        target_secs: target duration of a loop.
        limit: maximum steps between two boundaries.
    """

    def __init__(self, target_secs: float = 1.0, limit: int = 1000) -> None:
        self._target_secs = target_secs
        self._limit = limit
        self.steps = 1

    def update(self, num_steps: int, secs: float) -> None:
        """Adapt to a loop of `num_steps` steps that took `secs` seconds; ignore an empty one."""
        if not num_steps:
            return
        fitting = int(self._target_secs * num_steps / max(secs, 1e-9))
        # At most doubled: the first loops include tracing and cold caches.
        self.steps = max(1, min(fitting, 2 * self.steps, self._limit))
