"""One run of a rehearsal: what is done to it, and what it is seen to do."""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer.launch.local.gang import Gang
from trainer.process.errors import GraftError

SIGNALS = {
    "kill": signal.SIGKILL,
    "freeze": signal.SIGSTOP,
    "sigterm": signal.SIGTERM,
}
STORAGE = "storage"
NAMES = (*SIGNALS, STORAGE)
_KEPT_LINES = 25


class TimeOut(GraftError):
    """A run of the rehearsal was not over in its time."""


@dataclasses.dataclass(frozen=True)
class Disturbance:
    """What happens as soon as `step` steps are done.

    Attributes:
        name: one of NAMES; STORAGE takes the workdir away from all.
        worker: who is sent a signal; None for STORAGE.
        step: when.
    """

    name: str
    worker: int | None
    step: int


class Workdir:
    """A local directory that is taken away, as if what it is mounted from were gone.

    It is renamed, and a file takes its name: so nobody, root included, can write below it.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._kept = f"{path}.away"

    def take_away(self) -> None:
        """From here on every use of it fails."""
        os.rename(self._path, self._kept)
        Path(self._path).touch()

    def bring_back(self) -> bool:
        """Make it what it was; whether it was away."""
        if not os.path.exists(self._kept):
            return False
        os.remove(self._path)
        os.rename(self._kept, self._path)
        return True


class Observer:
    """Reads what the workers say, as JSON lines at every loop boundary, and disturbs them once.

    Args:
        disturbance: None leaves the run alone.
        timeout_secs: from now on.
        clock: seconds since some fixed time.
        take_away: what STORAGE does.

    Attributes:
        step: steps done, by the last attempt that did any.
        disturbed_step: steps done before the disturbance took effect; None before it.
        secs_until_training: from the disturbance to the next step that was done after a restart.
        steps_done_twice: because no checkpoint held them.
        lines: the last that were said.
    """

    def __init__(
        self,
        disturbance: Disturbance | None,
        timeout_secs: float,
        clock: Callable[[], float] = time.monotonic,
        take_away: Callable[[], None] = lambda: None,
    ) -> None:
        self.step = 0
        self.disturbed_step: int | None = None
        self.secs_until_training: float | None = None
        self.steps_done_twice: int | None = None
        self.lines: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)
        self._disturbance = disturbance
        self._clock = clock
        self._take_away = take_away
        self._deadline = clock() + timeout_secs
        self._disturbed_at = 0.0
        self._attempts = 0
        self._resumed_step = 0

    def tell(self, worker: int | None, line: str) -> None:
        """Take in a line of a worker's, or of the launcher's (None)."""
        figures = _figures(line)
        if worker is None:
            self.lines.append(f"launch │ {line}")
            if line.startswith("starting "):
                self._attempts += 1
                self._resumed_step = 0
        elif "done" not in figures:
            self.lines.append(f"{worker} │ {figures.get('message', line)}")
        if worker == 0 and "resumed_step" in figures:
            self._resumed_step = int(figures["resumed_step"])
        if worker == 0 and str(figures.get("message", "")).startswith("training "):
            self._did(int(figures["done"]))

    def watch(self, gang: Gang) -> None:
        """Disturb, when it is time.

        Raises:
            TimeOut: the run takes too long.
        """
        if self._clock() > self._deadline:
            raise TimeOut(f"not over in time, after step {self.step:,}")
        wanted = self._disturbance
        if wanted is None or self.disturbed_step is not None or self.step < max(wanted.step, 1):
            return
        if wanted.worker in gang.left or (wanted.worker is None and gang.left):
            self.disturbed_step = self.step
            self._disturbed_at = self._clock()
            if wanted.worker is None:
                self._take_away()
            else:
                gang.send_signal(SIGNALS[wanted.name], wanted.worker)

    def _did(self, step: int) -> None:
        if self.disturbed_step is not None and self.secs_until_training is None:
            if self._attempts == 1:
                self.disturbed_step = step  # steps that the signal came too late for
            else:
                self.secs_until_training = self._clock() - self._disturbed_at
                self.steps_done_twice = max(self.disturbed_step - self._resumed_step, 0)
        self.step = step


def _figures(line: str) -> dict[str, Any]:
    try:
        figures = json.loads(line)
    except ValueError:
        return {}
    return figures if isinstance(figures, dict) else {}
