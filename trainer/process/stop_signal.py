"""Turn SIGTERM and Ctrl-C into a stop request that the loop polls where it can save."""

from __future__ import annotations

import os
import signal
import socket
import threading
from types import FrameType, TracebackType
from typing import Any

from trainer.process.errors import Preempted


class StopRequest:
    """Records SIGTERM or SIGINT; leaving the context restores the previous handlers.

    Off the main thread signals cannot be handled, so none are installed.

    Args:
        owns_process: whether a second signal ends the process at once. A Python handler runs only
            when the main thread returns from TensorFlow, which may wait for a dead disk; so a
            thread listens, too. Otherwise, in a notebook, a second signal raises
            KeyboardInterrupt.
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
            self._wakeup.close()  # ends the listener thread
            self._wakeup = None

    @property
    def requested(self) -> bool:
        """Whether a signal was received."""
        return bool(self._signal)

    @property
    def signal(self) -> int:
        """The signal received; 0 before any."""
        return self._signal

    def record(self, number: int) -> None:
        """Record signal `number`, received here or by another worker."""
        self._signal = self._signal or number

    def install(self) -> None:
        """Install the handlers; again after TensorFlow, whose strategies replace them."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._handle(signal.SIGTERM)
        # A shell starts background jobs with Ctrl-C ignored; keep that.
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            self._handle(signal.SIGINT)
        if self._owns_process and self._wakeup is None:
            listening, self._wakeup = socket.socketpair()
            self._wakeup.setblocking(False)
            self._wakeup_before = signal.set_wakeup_fd(self._wakeup.fileno())
            threading.Thread(target=self._listen, args=[listening], daemon=True).start()

    def error(self, where: str) -> Preempted:
        """Return the error to raise once saved; its exit code is the shell's for the signal."""
        name = "Ctrl-C" if self._signal == signal.SIGINT else "SIGTERM"
        preempted = Preempted(f"stopped by {name} {where}")
        preempted.exit_code = 128 + self._signal
        return preempted

    def _handle(self, number: int) -> None:
        before = signal.signal(number, self._on_signal)
        self._before.setdefault(number, before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signal and not self._owns_process:
            raise KeyboardInterrupt
        self.record(number)

    def _listen(self, listening: socket.socket) -> None:
        """Read the byte that Python writes for each signal, even while the main thread blocks."""
        count = 0
        with listening:
            while received := listening.recv(1):
                if received[0] in (signal.SIGTERM, signal.SIGINT):
                    self.record(received[0])
                    count += 1
                if count > 1:
                    # Safe at any moment: an unfinished checkpoint has no manifest.
                    os._exit(128 + received[0])
