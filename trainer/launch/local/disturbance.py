"""Disturb one run of a rehearsal, and observe how it recovers."""

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
    """A run of the rehearsal exceeded its timeout."""


@dataclasses.dataclass(frozen=True)
class Disturbance:
    """A disturbance after `step` steps.

    Attributes:
        name: one of NAMES; STORAGE makes the workdir unavailable to all workers.
        worker: index of the worker that gets a signal; None for STORAGE.
        step: steps done before it.
    """

    name: str
    worker: int | None
    step: int


class Workdir:
    """A local directory that can be made unavailable, as if its mount had failed.

    It is renamed and replaced by a file, so that nobody, root included, can write below it.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._kept = f"{path}.away"

    def disconnect(self) -> None:
        """Make every use of it fail."""
        os.rename(self._path, self._kept)
        Path(self._path).touch()

    def reconnect(self) -> bool:
        """Restore it; return whether it was disconnected."""
        if not os.path.exists(self._kept):
            return False
        os.remove(self._path)
        os.rename(self._kept, self._path)
        return True


class Observer:
    """Reads the workers' JSON logs, with progress at every loop boundary, and disturbs them once.

    Args:
        disturbance: None disturbs nothing.
        timeout_secs: from now on.
        clock: seconds since some fixed time.
        disconnect: called for STORAGE.

    Attributes:
        step: steps done, by the last attempt that did any.
        disturbed_step: steps done before the disturbance took effect; None before it.
        secs_until_training: from the disturbance to the next step that was done after a restart.
        steps_done_twice: because no checkpoint held them.
        lines: the last lines of the log.
    """

    def __init__(
        self,
        disturbance: Disturbance | None,
        timeout_secs: float,
        clock: Callable[[], float] = time.monotonic,
        disconnect: Callable[[], None] = lambda: None,
    ) -> None:
        self.step = 0
        self.disturbed_step: int | None = None
        self.secs_until_training: float | None = None
        self.steps_done_twice: int | None = None
        self.lines: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)
        self._disturbance = disturbance
        self._clock = clock
        self._disconnect = disconnect
        self._deadline = clock() + timeout_secs
        self._disturbed_at = 0.0
        self._attempts = 0
        self._resumed_step = 0

    def read_line(self, worker: int | None, line: str) -> None:
        """Process a log line of a worker, or of the launcher (None)."""
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
            self._note_step(int(figures["done"]))

    def watch(self, gang: Gang) -> None:
        """Disturb the workers if it is due.

        Raises:
            TimeOut: the run exceeds its timeout.
        """
        if self._clock() > self._deadline:
            raise TimeOut(f"not over in time, after step {self.step:,}")
        planned = self._disturbance
        if planned is None or self.disturbed_step is not None or self.step < max(planned.step, 1):
            return
        if planned.worker in gang.left or (planned.worker is None and gang.left):
            self.disturbed_step = self.step
            self._disturbed_at = self._clock()
            if planned.worker is None:
                self._disconnect()
            else:
                gang.send_signal(SIGNALS[planned.name], planned.worker)

    def _note_step(self, step: int) -> None:
        if self.disturbed_step is not None and self.secs_until_training is None:
            if self._attempts == 1:
                self.disturbed_step = step  # steps done before the signal took effect
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
