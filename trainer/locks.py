"""One process at a time: a lock on a file that the system takes back from the dead."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from trainer.errors import UserError


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
    while True:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | (fcntl.LOCK_NB if refusal else 0))
            except BlockingIOError as error:
                raise UserError(refusal) from error
            if not _is_at(path, stream.fileno()):
                continue  # its last holder has taken it away between the two
            try:
                yield
            finally:
                if not is_kept:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(path)
            return


def _is_at(path: str, file: int) -> bool:
    """Whether the open `file` is the one that whoever opens `path` now gets."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except FileNotFoundError:
        return False
