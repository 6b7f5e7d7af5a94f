"""Directories that one process creates atomically and many read.

A directory is created in a hidden scratch directory beside its target, locked while its creator
lives, and renamed once it is flushed. An artifact in a cache has a manifest, too. Of two
concurrent creators, the second uses the first one's artifact.
"""

from __future__ import annotations

import contextlib
import glob
import math
import os
import shutil
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from trainer.process.errors import UserError
from trainer.process.file_lock import locked
from trainer.storage import local
from trainer.storage.manifest import MANIFEST, Manifest, file_entries

_SCRATCH, _LOCK = ".graft-", ".lock"
_ABANDONED_SECS = 3600.0  # for network file systems with locks local to each machine
_FULL = ("No space left on device", "Disk quota exceeded")  # in errors of OS and TensorFlow


def get_or_create(
    cache_dir: str,
    name: str,
    make: Callable[[str], Mapping[str, Any] | None],
    is_checked: bool = False,
    waits: bool = False,
    unused_secs: float = math.inf,
) -> tuple[str, dict[str, Any]]:
    """Find the artifact `name`, or create it; warn about a corrupt one.

    GRAFT_PREPARED_DIR, if set, is a read-only cache that is searched first, such as a container
    image's. Artifacts of earlier versions have no manifest, and are used unless `is_checked`.

    Args:
        cache_dir: a local directory, created if missing.
        name: KIND-DIGEST, which changes with all that the artifact depends on.
        make: fills a new directory; returns facts for the manifest, in JSON types.
        is_checked: compare the files' checksums, not only their sizes.
        waits: if another process is creating it, wait.
        unused_secs: creating one removes those of its KIND that were unused for so long.

    Returns:
        The directory, and the facts.

    Raises:
        UserError: the cache is not writable, is full, or has a file at the directory's path.
    """
    for root in filter(None, (os.environ.get("GRAFT_PREPARED_DIR"), cache_dir)):
        path = os.path.join(os.path.abspath(root), name)
        facts, problem = _read(path, name, is_checked)
        if facts is not None:
            return path, facts
        if problem:
            warnings.warn(f"{problem}; rebuilding it", stacklevel=2)
    if os.path.lexists(path) and not os.path.isdir(path):
        raise UserError(
            f"--cache_dir={cache_dir}: {path} must be a directory, or not exist; remove it"
        )
    with contextlib.ExitStack() as stack:
        lock = locked(f"{path}{_LOCK}", is_kept=False)
        try:
            if waits:
                stack.enter_context(lock)
                if (facts := _read(path, name, is_checked)[0]) is not None:
                    return path, facts
            secs = 0.0 if waits else _ABANDONED_SECS  # the lock excludes other creators
            directory = stack.enter_context(scratch(path, name, secs, unused_secs))
        except OSError as error:
            raise UserError(
                f"--cache_dir={cache_dir}: must be a directory that can be written to, to keep "
                f"models and data in ({error.filename}: {error.strerror})"
            ) from error
        try:
            facts = {**(make(directory) or {}), "name": name}
            files = file_entries(directory)
            files.pop(MANIFEST, None)  # an archive's own, which is replaced
            Path(directory, MANIFEST).write_bytes(Manifest(files, facts).to_bytes())
            if not waits:
                stack.enter_context(lock)
            if _read(path, name, is_checked)[0] is None:  # else another process was faster
                if os.path.isdir(path):
                    os.rename(path, f"{directory}.corrupt")  # to be removed with the scratch
                move(directory, path)
        except Exception as error:
            if not any(message in str(error) for message in _FULL):
                raise
            raise UserError(
                f"--cache_dir={cache_dir}: no space is left for {path}; free some, or name another "
                "directory"
            ) from error
    return path, facts


@contextlib.contextmanager
def scratch(
    target: str, name: str, abandoned_secs: float, unused_secs: float = math.inf
) -> Iterator[str]:
    """Create a directory `…/name` on the file system of `target`, and remove it unless moved.

    Also removes unlocked scratch directories that killed processes left beside it
    `abandoned_secs` ago, and directories with the name of `target` up to the hyphen that were
    unused for `unused_secs`.
    """
    parent, last = os.path.split(os.path.abspath(target))
    path = os.path.join(parent, f"{_SCRATCH}{uuid.uuid4().hex}")
    ages = {_SCRATCH + "[0-9a-f]" * 32: abandoned_secs, last.partition("-")[0] + "-*": unused_secs}
    try:
        with locked(os.path.join(path, _LOCK)):  # creates the directory
            now = os.stat(path).st_mtime  # by the file system's clock, like the other times
            for pattern, secs in ages.items():
                for old in glob.glob(os.path.join(glob.escape(parent), pattern, "")):
                    # Removed already, another user's, or locked, possibly by this process.
                    with contextlib.suppress(OSError, UserError):
                        if now - os.stat(old).st_mtime >= secs:
                            with locked(os.path.join(old, _LOCK), "a live process works there"):
                                os.rename(old, os.path.join(path, uuid.uuid4().hex))
            directory = os.path.join(path, name)
            os.makedirs(directory)
            yield directory
    finally:
        shutil.rmtree(path, ignore_errors=True)


def move(directory: str, target: str) -> None:
    """Flush a directory and rename it to `target`, which must not exist.

    Without the flush, a power failure could keep the rename and lose the files' content.
    """
    for below, _, names in os.walk(directory):
        for path in (*(os.path.join(below, name) for name in names), below):
            local.flush(path)
    os.rename(directory, target)
    local.flush(os.path.dirname(target))


def _read(path: str, name: str, is_checked: bool) -> tuple[dict[str, Any] | None, str]:
    """Return the facts of the artifact at `path`; or None and the problem, "" if it is missing."""
    if not os.path.isdir(path):
        return None, ""
    facts: dict[str, Any] = {}
    if is_checked or os.path.lexists(os.path.join(path, MANIFEST)):
        manifest = local.read_manifest(path)
        if manifest is None or manifest.facts.get("name") != name:
            return None, f"{path}: has no valid {MANIFEST}"
        facts = manifest.facts
        if (problem := local.verify(path, manifest, is_checked)) is not None:
            return None, problem
    with contextlib.suppress(OSError):  # another user's
        os.utime(path)  # the time of its last use
    return facts, ""
