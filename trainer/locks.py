"""One process at a time: a lock on a file that the system takes back from the dead."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold the lock file at `path`; waits while another process of this machine holds it.

    The kernel lets go of an `flock` when its holder ends, however it ends: no lock is ever stale.
    """
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
