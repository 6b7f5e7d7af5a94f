"""Uploads in the background, in order, few at a time; what fails is told at the next boundary."""

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
    """One thread that does jobs in the order in which they came, when training leaves it a core.

    After a job that failed no other is done: what comes later may rely on it.

    Args:
        max_waiting: jobs that may wait; `submit` waits when there are so many.

    Attributes:
        must_hold: asked before each job; raises where nothing may be written any more.
    """

    def __init__(self, max_waiting: int = 4) -> None:
        self.must_hold: Callable[[], None] = lambda: None
        self._max_waiting = max_waiting
        self._jobs: collections.deque[Callable[[], object]] = collections.deque()
        self._is_busy = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def submit(self, job: Callable[[], object]) -> None:
        """Have `job` done later, after all that were submitted before.

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
        """Raise what a job has failed with, or why no other may be done."""
        self.must_hold()
        with self._changed:
            self._raise()

    def flush(self, deadline_secs: float | None = None) -> None:
        """Wait until all is done.

        Raises:
            GraftError: a job failed.
            StorageUnreachable: not all is done after `deadline_secs`.
        """
        until = None if deadline_secs is None else time.monotonic() + deadline_secs
        with self._changed:
            while (self._jobs or self._is_busy) and self._error is None:
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise StorageUnreachable(
                        f"uploads: not done within {deadline_secs:.0f} s; what is published is "
                        "whole, and the same command goes on from there"
                    )
                self._changed.wait(left)
            self._raise()

    @contextlib.contextmanager
    def draining(self) -> Iterator[None]:
        """Before the `with` is left, all is done; in a hurry after SIGTERM.

        Raises:
            GraftError: a job failed, or there was no time for it.
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
        if sys.platform == "linux":  # where a thread and those it starts have their own priority
            own = os.PRIO_PROCESS, threading.get_native_id()
            with contextlib.suppress(OSError):  # a sandbox may forbid it; the uploads work
                os.setpriority(*own, max(os.getpriority(*own), _NICENESS))
        while True:
            with self._changed:
                while not self._jobs:
                    self._changed.wait()
                job = self._jobs.popleft()
                self._is_busy = True
                self._changed.notify_all()
            try:
                self.must_hold()
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
