"""SIGTERM and Ctrl-C become a request that the loop reads where it can stop whole."""

from __future__ import annotations

import os
import signal
import socket
import threading
from types import FrameType, TracebackType
from typing import Any

from trainer.process.errors import Preempted


class StopRequest:
    """Made by SIGTERM or SIGINT while it is entered; what was there before is put back then.

    Off the main thread no signal can be handled, and none is.

    Args:
        owns_process: whether a second signal ends the process at once, wherever it is. A handler
            of Python's runs when the main thread is back from what it waits for in TensorFlow,
            such as a disk that does not answer; so a thread of its own listens, too. Else, in
            somebody's notebook, a second signal raises KeyboardInterrupt.
    """

    def __init__(self, owns_process: bool = True) -> None:
        self._owns_process = owns_process
        self._signal = 0
        self._before: dict[int, Any] = {}
        self._wakeup: socket.socket | None = None
        self._wakeup_before = -1

    def __enter__(self) -> StopRequest:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        if self._wakeup is not None:
            signal.set_wakeup_fd(self._wakeup_before)
            self._wakeup.close()  # which ends the thread that listens
            self._wakeup = None

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
        """Take the signals over; again after TensorFlow, whose strategies replace the handlers."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._take(signal.SIGTERM)
        # A shell starts its background jobs deaf to Ctrl-C, and so they stay.
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            self._take(signal.SIGINT)
        if self._owns_process and self._wakeup is None:
            listening, self._wakeup = socket.socketpair()
            self._wakeup.setblocking(False)
            self._wakeup_before = signal.set_wakeup_fd(self._wakeup.fileno())
            threading.Thread(target=self._listen, args=[listening], daemon=True).start()

    def error(self, where: str) -> Preempted:
        """What to raise once all is saved; its exit code is the shell's for the signal."""
        name = "Ctrl-C" if self._signal == signal.SIGINT else "SIGTERM"
        preempted = Preempted(f"stopped by {name} {where}")
        preempted.exit_code = 128 + self._signal
        return preempted

    def _take(self, number: int) -> None:
        before = signal.signal(number, self._on_signal)
        self._before.setdefault(number, before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signal and not self._owns_process:
            raise KeyboardInterrupt
        self.note(number)

    def _listen(self, listening: socket.socket) -> None:
        """Python writes a byte for each signal, whatever the main thread is at."""
        count = 0
        with listening:
            while told := listening.recv(1):
                if told[0] in (signal.SIGTERM, signal.SIGINT):
                    self.note(told[0])
                    count += 1
                if count > 1:
                    # Whatever is published is whole: an unfinished checkpoint has no manifest.
                    os._exit(128 + told[0])
