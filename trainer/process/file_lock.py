"""One process at a time: a lock on a file that the system takes back from the dead."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from trainer.process.errors import UserError

_ATTEMPTS = 100


@contextlib.contextmanager
def locked(path: str, refusal: str = "", is_kept: bool = True) -> Iterator[None]:
    """Hold the lock file at `path`.

    The kernel lets go of an `flock` when its holder ends, however it ends: no lock is ever stale.

    Args:
        path: made where it is missing.
        refusal: what to say if another process of this machine holds it; empty waits for it.
        is_kept: whether the file stays there afterwards.

    Raises:
        UserError: another process holds it, and there is a refusal.
    """
    failures = 0
    while True:
        try:
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            stream = open(path, "w")  # noqa: SIM115 - it is closed below
        except (FileNotFoundError, FileExistsError):
            failures += 1
            if failures == _ATTEMPTS:
                raise
            continue  # another process takes the directory away, or makes it, between the two
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | (fcntl.LOCK_NB if refusal else 0))
            except BlockingIOError as error:
                raise UserError(refusal) from error
            if not _is_at(path, stream.fileno()):
                continue  # its last holder has taken it away meanwhile
            try:
                yield
            finally:
                if not is_kept and _is_at(path, stream.fileno()):
                    with contextlib.suppress(OSError):
                        os.unlink(path)
            return


def _is_at(path: str, file: int) -> bool:
    """Whether the open `file` is the one that whoever opens `path` now gets."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except OSError:
        return False
