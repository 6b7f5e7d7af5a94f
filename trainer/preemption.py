"""SIGTERM and Ctrl-C become a request that the loop reads where it can stop whole."""

from __future__ import annotations

import os
import signal
from types import FrameType

from trainer.errors import Preempted


class StopRequest:
    """Made by SIGTERM or SIGINT; a second signal ends the process at once.

    Install it after the distribution strategy is built: TensorFlow replaces the handlers that
    are there before.
    """

    def __init__(self) -> None:
        self._signal = 0

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return bool(self._signal)

    @property
    def signal(self) -> int:
        """The signal that came; 0 before any."""
        return self._signal

    def note(self, number: int) -> None:
        """Another worker was sent the signal `number`, which is meant for all."""
        self._signal = self._signal or number

    def install(self) -> None:
        """Take the signals over; only the main thread may."""
        signal.signal(signal.SIGTERM, self._on_signal)
        # A shell starts its background jobs deaf to Ctrl-C, and so they stay.
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._on_signal)

    def error(self, where: str) -> Preempted:
        """What to raise once all is saved; its exit code is the shell's for the signal."""
        name = "Ctrl-C" if self._signal == signal.SIGINT else "SIGTERM"
        preempted = Preempted(f"stopped by {name} {where}")
        preempted.exit_code = 128 + self._signal
        return preempted

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signal:
            # Whatever is published is whole: the manifest of an unfinished checkpoint is missing.
            os._exit(128 + number)
        self._signal = number
