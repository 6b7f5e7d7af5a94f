"""Upload in the background, in order; errors surface at the next loop boundary."""

from __future__ import annotations

import collections
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

from trainer.process.errors import GraftError, Preempted, StorageUnreachable

PREEMPTED_SECS = 10.0  # a pod on Spot machines has 15 from SIGTERM to SIGKILL
FAILED_SECS = 60.0
_NICENESS = 10


class UploadQueue:
    """Runs jobs in order in one low-priority thread.

    A failed job stops the queue: later jobs may depend on it.

    Args:
        max_waiting: maximum queue length; `submit` blocks when it is reached.

    Attributes:
        precondition: called before each job; raises if nothing may be written any more.
    """

    def __init__(self, max_waiting: int = 4) -> None:
        self.precondition: Callable[[], None] = lambda: None
        self._max_waiting = max_waiting
        self._jobs: collections.deque[Callable[[], object]] = collections.deque()
        self._is_busy = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def submit(self, job: Callable[[], object]) -> None:
        """Queue `job`.

        Raises:
            GraftError: an earlier job failed.
        """
        with self._changed:
            while len(self._jobs) >= self._max_waiting and self._error is None:
                self._changed.wait()
            self._raise()
            self._jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="upload_queue", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def check(self) -> None:
        """Raise the error of a failed job, or of the precondition."""
        self.precondition()
        with self._changed:
            self._raise()

    def flush(self, deadline_secs: float | None = None) -> None:
        """Wait until the queue is empty.

        Raises:
            GraftError: a job failed.
            StorageUnreachable: the queue is not empty after `deadline_secs`.
        """
        until = None if deadline_secs is None else time.monotonic() + deadline_secs
        with self._changed:
            while (self._jobs or self._is_busy) and self._error is None:
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise StorageUnreachable(
                        f"uploads: not done within {deadline_secs:.0f} s; published files are "
                        "complete, and the same command resumes from there"
                    )
                self._changed.wait(left)
            self._raise()

    @contextlib.contextmanager
    def draining(self) -> Iterator[None]:
        """Flush the queue when the `with` ends; with a short deadline after SIGTERM.

        Raises:
            GraftError: a job failed, or did not finish in time.
        """
        try:
            yield
        except Preempted:
            self.flush(PREEMPTED_SECS)
            raise
        except BaseException:
            with contextlib.suppress(GraftError):
                self.flush(FAILED_SECS)
            raise
        self.flush()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        if sys.platform == "linux":  # there priorities are per thread, and inherited
            own = os.PRIO_PROCESS, threading.get_native_id()
            with contextlib.suppress(OSError):  # a sandbox may forbid it
                os.setpriority(*own, max(os.getpriority(*own), _NICENESS))
        while True:
            with self._changed:
                while not self._jobs:
                    self._changed.wait()
                job = self._jobs.popleft()
                self._is_busy = True
                self._changed.notify_all()
            try:
                self.precondition()
                job()
            except BaseException as error:
                self._fail(error)
                return
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = error
            self._jobs.clear()
            self._is_busy = False
            self._changed.notify_all()
