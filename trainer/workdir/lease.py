"""Mutual exclusion in a workdir: a local lock file, or a renewed lease in a bucket.

The object `.lease` names the holder of the workdir, which renews it every RENEW_SECS with a
conditional write. A later process is refused if it sees a renewal, and takes the lease over if it
sees none for STALE_SECS. Clocks of different machines are never compared.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from trainer.process.errors import GraftError, UserError
from trainer.process.file_lock import locked
from trainer.storage import api as storage

RENEW_SECS = 15.0
STALE_SECS = 45.0
_POLL_SECS = 1.0
_REQUEST_SECS = 15.0  # at most RENEW_SECS, or two renewals would overlap


@contextlib.contextmanager
def hold(
    workdir: str, say: Callable[[str], None], is_new: bool = False
) -> Iterator[Callable[[], None]]:
    """Hold `workdir` within a `with`; yields a function that raises if the lease was lost.

    Args:
        workdir: local or gs://.
        say: called with a message while waiting for a lease.
        is_new: whether a local workdir was just created: if still empty at the end, remove it.

    Raises:
        UserError: another process holds it.
    """
    refusal = f"--workdir={workdir}: another process trains here"
    if not storage.is_remote(workdir):
        try:
            with locked(os.path.join(workdir, ".lock"), refusal, is_kept=False):
                yield lambda: None
        finally:
            if is_new:
                with contextlib.suppress(OSError):
                    os.rmdir(workdir)  # of a refused run; fails unless it is empty
        return
    lease = Lease(f"{workdir.rstrip('/')}/.lease", refusal, say)
    lease.acquire()
    try:
        yield lease.check
    finally:
        lease.release()


class Lease:
    """A lease on the object at `path`, held by one process.

    Args:
        path: gs://BUCKET/NAME.
        refusal: error message if another process holds it.
        say: called with a message while waiting.
    """

    def __init__(self, path: str, refusal: str, say: Callable[[str], None]) -> None:
        self._path = path
        self._refusal = refusal
        self._say = say
        self._holder = {"id": uuid.uuid4().hex, **_process(os.getpid())}
        self._generation = 0
        self._error: GraftError | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def acquire(self) -> None:
        """Acquire the lease, if necessary once it is stale.

        Raises:
            UserError: its holder renewed it.
        """
        began, seen = time.monotonic(), None
        while not self._write(self._generation):
            holder, generation = self._read()
            if generation is None:
                self._generation = 0  # just released; or renewed, which the next poll finds
                continue
            if _is_dead(holder):
                self._generation = generation
                continue
            if seen is None:
                self._say(
                    f"waiting    {self._path} is held by {holder.get('host', 'another process')}; "
                    f"taken over if it is not renewed within {STALE_SECS:.0f} s"
                )
                began, seen = time.monotonic(), generation
            elif generation != seen:
                raise UserError(f"{self._refusal} ({holder.get('host')}, {self._path})")
            elif time.monotonic() - began >= STALE_SECS:
                self._generation = generation
                continue
            time.sleep(_POLL_SECS)
        self._thread.start()

    def check(self) -> None:
        """Raise the error that ended the lease, if any."""
        if self._error is not None:
            raise self._error

    def release(self) -> None:
        """Release the lease, so that the next process need not wait."""
        self._ended.set()
        self._thread.join()
        if self._error is None:
            with contextlib.suppress(GraftError):
                storage.remove_version(self._path, self._generation, retry_secs=5.0)

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_SECS):
            try:
                if not self._write(self._generation):
                    self._error = UserError(
                        f"{self._path}: another process has taken this workdir over"
                    )
            except UserError as error:
                self._error = error
            except GraftError:
                continue  # unreachable for now; a later renewal detects a takeover
            if self._error is not None:
                return

    def _write(self, generation: int) -> bool:
        """Write the lease if its generation is still `generation` (0: missing); else False."""
        content = json.dumps({**self._holder, "beat": uuid.uuid4().hex}).encode()
        written = storage.replace_version(self._path, content, generation, _REQUEST_SECS)
        if written is None:
            # The response may have been lost after the commit: check whether the lease is ours.
            holder, written = self._read()
            if written is None or holder.get("id") != self._holder["id"]:
                return False
        self._generation = written
        return True

    def _read(self) -> tuple[dict[str, Any], int | None]:
        try:
            content, generation = storage.read_newest(self._path, _REQUEST_SECS)
        except FileNotFoundError:
            return {}, None  # or renewed just now, which the next poll finds
        try:
            return json.loads(content), generation
        except ValueError:
            return {}, generation


def _process(pid: int) -> dict[str, Any]:
    """Return what identifies a process uniquely across machines."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stream:
            fields = stream.read().rpartition(")")[2].split()
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as stream:
            boot = stream.read().strip()
        state, started = fields[0], fields[19]
        machine = f"{boot}-{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return {"host": socket.gethostname(), "pid": pid, "machine": "", "started": ""}
    if state in "ZX":  # ended, not yet reaped
        started = ""
    return {"host": socket.gethostname(), "pid": pid, "machine": machine, "started": started}


def _is_dead(holder: dict[str, Any]) -> bool:
    """Whether `holder` was a process of this machine that has ended; False if unsure."""
    ours = _process(os.getpid())
    if not ours["machine"] or holder.get("machine") != ours["machine"]:
        return False
    return _process(int(holder["pid"]))["started"] != holder["started"]
