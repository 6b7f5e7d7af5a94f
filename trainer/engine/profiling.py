"""`--profile_steps`: a trace of some steps, for TensorBoard's profile page."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

_NEVER = 2**62


class Profiler:
    """Traces the steps from `steps[0]` to `steps[1]`; nothing where there are none.

    Args:
        steps: the number of steps done when it begins, and when it ends.
        directory: `logs` of the workdir, local or gs://.
    """

    def __init__(self, steps: Sequence[int], directory: str) -> None:
        self._begin, self._end = steps or (_NEVER, _NEVER)
        self._directory = directory
        self._is_on = False

    def next_step(self, step: int) -> int:
        """The step after `step` at which something begins or ends."""
        return min(at for at in (self._begin, self._end, _NEVER) if at > step)

    def at(self, step: int) -> None:
        """Begin or end, as is due after `step` steps."""
        if self._is_on and step >= self._end:
            self.close()
        elif not self._is_on and self._begin <= step < self._end:
            tf.profiler.experimental.start(self._directory)
            self._is_on = True

    def close(self) -> None:
        """Write what is traced, if anything."""
        if self._is_on:
            tf.profiler.experimental.stop()
            self._is_on = False
