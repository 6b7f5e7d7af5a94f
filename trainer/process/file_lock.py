"""Mutual exclusion by a lock file that the kernel releases when its holder dies."""

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

    The kernel releases an `flock` when its holder exits for any reason: no lock is ever stale.

    Args:
        path: created if missing.
        refusal: error message if another process of this machine holds it; empty to wait.
        is_kept: whether to keep the file afterwards.

    Raises:
        UserError: another process holds the lock and `refusal` is set.
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
            continue  # another process removed or created the directory between the two calls
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | (fcntl.LOCK_NB if refusal else 0))
            except BlockingIOError as error:
                raise UserError(refusal) from error
            if not _is_at(path, stream.fileno()):
                continue  # its last holder removed it meanwhile
            try:
                yield
            finally:
                if not is_kept and _is_at(path, stream.fileno()):
                    with contextlib.suppress(OSError):
                        os.unlink(path)
            return


def _is_at(path: str, file: int) -> bool:
    """Whether the open `file` is still the one at `path`."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except OSError:
        return False
