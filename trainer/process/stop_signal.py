"""SIGTERM and Ctrl-C become a request that the loop reads where it can stop whole."""

from __future__ import annotations

import os
import signal
import socket
import threading
from types import FrameType

from trainer.process.errors import Preempted


class StopRequest:
    """Made by SIGTERM or SIGINT; a second signal ends the process at once, wherever it is.

    A handler of Python's runs when the main thread is back from what it waits for in TensorFlow,
    such as a disk that does not answer. So a thread of its own listens, too.

    Install it after the distribution strategy is built: TensorFlow replaces the handlers that
    are there before.
    """

    def __init__(self) -> None:
        self._signal = 0
        self._told: socket.socket | None = None

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
        """Take the signals over, anew if need be; only the main thread may."""
        signal.signal(signal.SIGTERM, self._on_signal)
        # A shell starts its background jobs deaf to Ctrl-C, and so they stay.
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._on_signal)
        if self._told is None:
            listening, self._told = socket.socketpair()
            self._told.setblocking(False)
            signal.set_wakeup_fd(self._told.fileno())
            threading.Thread(target=self._listen, args=[listening], daemon=True).start()

    def error(self, where: str) -> Preempted:
        """What to raise once all is saved; its exit code is the shell's for the signal."""
        name = "Ctrl-C" if self._signal == signal.SIGINT else "SIGTERM"
        preempted = Preempted(f"stopped by {name} {where}")
        preempted.exit_code = 128 + self._signal
        return preempted

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.note(number)

    def _listen(self, listening: socket.socket) -> None:
        """Python writes a byte for each signal, whatever the main thread is at."""
        count = 0
        while told := listening.recv(1):
            if told[0] in (signal.SIGTERM, signal.SIGINT):
                self.note(told[0])
                count += 1
            if count > 1:
                # Whatever is published is whole: an unfinished checkpoint's manifest is missing.
                os._exit(128 + told[0])
