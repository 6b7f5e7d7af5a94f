"""`--profile_steps`: a trace of some steps, for TensorBoard's profile page."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

_NEVER = 2**62


class Profiler:
    """Traces the steps from `steps[0]` to `steps[1]`; nothing if `steps` is empty.

    Args:
        steps: the number of steps done at its start and at its end.
        directory: `logs` of the workdir, local or gs://.
    """

    def __init__(self, steps: Sequence[int], directory: str) -> None:
        self._begin, self._end = steps or (_NEVER, _NEVER)
        self._directory = directory
        self._is_tracing = False

    def next_step(self, step: int) -> int:
        """Return the next step after `step` at which the trace starts or ends."""
        return min(at for at in (self._begin, self._end, _NEVER) if at > step)

    def at(self, step: int) -> None:
        """Start or end the trace if that is due after `step` steps."""
        if self._is_tracing and step >= self._end:
            self.close()
        elif not self._is_tracing and self._begin <= step < self._end:
            tf.profiler.experimental.start(self._directory)
            self._is_tracing = True

    def close(self) -> None:
        """Write the trace, if one has started."""
        if self._is_tracing:
            tf.profiler.experimental.stop()
            self._is_tracing = False
