"""One process at a time: a lock on a file that the system takes back from the dead."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from trainer.errors import UserError


@contextlib.contextmanager
def locked(path: str, refusal: str = "") -> Iterator[None]:
    """Hold the lock file at `path`.

    The kernel lets go of an `flock` when its holder ends, however it ends: no lock is ever stale.

    Args:
        path: made where it is missing.
        refusal: what to say if another process of this machine holds it; empty waits for it.

    Raises:
        UserError: another process holds it, and there is a refusal.
    """
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (fcntl.LOCK_NB if refusal else 0))
        except BlockingIOError as error:
            raise UserError(refusal) from error
        yield
