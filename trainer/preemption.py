"""SIGTERM becomes a flag that the loop reads where it can stop whole."""

from __future__ import annotations

import os
import signal
from types import FrameType


class StopRequest:
    """Set by SIGTERM; a second SIGTERM ends the process at once.

    Install it after the distribution strategy is built: TensorFlow replaces the handlers that
    are there before.
    """

    EXIT_CODE = 143

    def __init__(self) -> None:
        self.requested = False

    def install(self) -> None:
        """Take SIGTERM over; only the main thread may."""
        signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            # Whatever is published is whole: the manifest of an unfinished checkpoint is missing.
            os._exit(self.EXIT_CODE)
        self.requested = True
