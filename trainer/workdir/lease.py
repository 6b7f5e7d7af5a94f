"""One process at a time in a workdir: a lock on a file, or in a bucket an object that is renewed.

The object `.lease` says who holds the workdir. Its holder writes it anew every few seconds, always
with the condition that nobody else has; who comes later and sees it renewed is refused, and who
sees it unchanged for STALE_SECS takes it over. Clocks of different machines are never compared.
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

HEARTBEAT_SECS = 15.0
STALE_SECS = 45.0
_LOOK_SECS = 1.0
_REQUEST_SECS = 15.0  # no longer than a heartbeat, or two would be under way


@contextlib.contextmanager
def held(
    workdir: str, say: Callable[[str], None], is_new: bool = False
) -> Iterator[Callable[[], None]]:
    """Hold `workdir`; gives a function that raises if it was lost meanwhile.

    Args:
        workdir: local or gs://.
        say: told that a lease is waited for.
        is_new: whether a local one was made for this: if nothing is in it in the end, it goes.

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
                    os.rmdir(workdir)  # of a run that was refused: where anything is, it stays
        return
    lease = Lease(f"{workdir.rstrip('/')}/.lease", refusal, say)
    lease.acquire()
    try:
        yield lease.check
    finally:
        lease.release()


class Lease:
    """The object at `path`, held by one process.

    Args:
        path: gs://BUCKET/NAME.
        refusal: what to say if another process holds it.
        say: told that it is waited for.
    """

    def __init__(self, path: str, refusal: str, say: Callable[[str], None]) -> None:
        self._path = path
        self._refusal = refusal
        self._say = say
        self._holder = {"id": uuid.uuid4().hex, **_process(os.getpid())}
        self._generation = 0
        self._error: GraftError | None = None
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="lease", daemon=True)

    def acquire(self) -> None:
        """Take it, or wait until it is stale.

        Raises:
            UserError: its holder lives.
        """
        began, seen = time.monotonic(), None
        while not self._write(self._generation):
            holder, generation = self._read()
            if generation is None:
                self._generation = 0  # let go of, just now; or renewed, and the next look tells
                continue
            if _is_dead(holder):
                self._generation = generation
                continue
            if seen is None:
                self._say(
                    f"waiting    {self._path} is held by {holder.get('host', 'somebody')}; taken "
                    f"over if it is not renewed within {STALE_SECS:.0f} s"
                )
                began, seen = time.monotonic(), generation
            elif generation != seen:
                raise UserError(f"{self._refusal} ({holder.get('host')}, {self._path})")
            elif time.monotonic() - began >= STALE_SECS:
                self._generation = generation
                continue
            time.sleep(_LOOK_SECS)
        self._heart.start()

    def check(self) -> None:
        """Raise what ended the lease, if anything did."""
        if self._error is not None:
            raise self._error

    def release(self) -> None:
        """Let go of it, so that the next process need not wait."""
        self._ended.set()
        self._heart.join()
        if self._error is None:
            with contextlib.suppress(GraftError):
                storage.remove_version(self._path, self._generation, patience_secs=5.0)

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECS):
            try:
                if not self._write(self._generation):
                    self._error = UserError(
                        f"{self._path}: another process has taken this workdir over"
                    )
            except UserError as error:
                self._error = error
            except GraftError:
                continue  # unreachable for now; who takes it over meanwhile is found out then
            if self._error is not None:
                return

    def _write(self, generation: int) -> bool:
        """Write it if it is still of `generation` (0: not there); False if it is not."""
        content = json.dumps({**self._holder, "beat": uuid.uuid4().hex}).encode()
        written = storage.replace_version(self._path, content, generation, _REQUEST_SECS)
        if written is None:
            # An answer may have been lost after the commit: is it ours that is there?
            holder, written = self._read()
            if written is None or holder.get("id") != self._holder["id"]:
                return False
        self._generation = written
        return True

    def _read(self) -> tuple[dict[str, Any], int | None]:
        try:
            content, generation = storage.read_newest(self._path, _REQUEST_SECS)
        except FileNotFoundError:
            return {}, None  # or renewed just now: the next look will tell
        try:
            return json.loads(content), generation
        except ValueError:
            return {}, generation


def _process(pid: int) -> dict[str, Any]:
    """What tells a process from every other one, on any machine."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stream:
            fields = stream.read().rpartition(")")[2].split()
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as stream:
            boot = stream.read().strip()
        state, started = fields[0], fields[19]
        machine = f"{boot}-{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return {"host": socket.gethostname(), "pid": pid, "machine": "", "started": ""}
    if state in "ZX":  # ended, and not yet waited for
        started = ""
    return {"host": socket.gethostname(), "pid": pid, "machine": machine, "started": started}


def _is_dead(holder: dict[str, Any]) -> bool:
    """Whether `holder` was a process of this machine that no longer is; False if in doubt."""
    ours = _process(os.getpid())
    if not ours["machine"] or holder.get("machine") != ours["machine"]:
        return False
    return _process(int(holder["pid"]))["started"] != holder["started"]
