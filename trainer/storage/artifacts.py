"""Directories that are made once and read by many: whole, or not there.

A directory is made in a hidden one beside its place, which is locked while its maker lives, and is
moved there in one step when it is flushed. An artifact of a cache has a manifest, too. Of two
makers at once, the second takes what the first has made.
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
from trainer.storage.manifest import MANIFEST, Manifest, described

_SCRATCH, _LOCK = ".graft-", ".lock"
_ABANDONED_SECS = 3600.0  # for network file systems whose locks end at each machine
_FULL = ("No space left on device", "Disk quota exceeded")  # as the system, and TensorFlow, say it


def made(
    cache_dir: str,
    name: str,
    make: Callable[[str], Mapping[str, Any] | None],
    is_checked: bool = False,
    waits: bool = False,
    unused_secs: float = math.inf,
) -> tuple[str, dict[str, Any]]:
    """Find the artifact `name`, or make it; one that is damaged is named in a warning.

    GRAFT_PREPARED_DIR, where it is set, is a cache that is looked at first and only read, as of a
    container's image. What earlier versions left has no manifest, and is used unless `is_checked`.

    Args:
        cache_dir: a local directory, made when needed.
        name: KIND-DIGEST, which changes with all that the artifact depends on.
        make: fills the new directory that it is given; returns facts to keep, in JSON's types.
        is_checked: compare the files' checksums, not their sizes alone.
        waits: where another process makes it, wait for that.
        unused_secs: who makes one removes those of its KIND that were not used for so long.

    Returns:
        The directory, and the facts.

    Raises:
        UserError: the cache cannot be written to, is full, or has a file in the directory's place.
    """
    for root in filter(None, (os.environ.get("GRAFT_PREPARED_DIR"), cache_dir)):
        path = os.path.join(os.path.abspath(root), name)
        facts, damage = _read(path, name, is_checked)
        if facts is not None:
            return path, facts
        if damage:
            warnings.warn(f"{damage}; it is made anew", stacklevel=2)
    if os.path.lexists(path) and not os.path.isdir(path):
        raise UserError(
            f"--cache_dir={cache_dir}: {path} must be a directory, or not be there; remove it"
        )
    with contextlib.ExitStack() as stack:
        lock = locked(f"{path}{_LOCK}", is_kept=False)
        try:
            if waits:
                stack.enter_context(lock)
                if (facts := _read(path, name, is_checked)[0]) is not None:
                    return path, facts
            secs = 0.0 if waits else _ABANDONED_SECS  # whoever waits knows that nobody is at it
            directory = stack.enter_context(scratch(path, name, secs, unused_secs))
        except OSError as error:
            raise UserError(
                f"--cache_dir={cache_dir}: must be a directory that can be written to, to keep "
                f"models and data in ({error.filename}: {error.strerror})"
            ) from error
        try:
            facts = {**(make(directory) or {}), "name": name}
            files = described(directory)
            files.pop(MANIFEST, None)  # an archive's own, which gives way
            Path(directory, MANIFEST).write_bytes(Manifest(files, facts).to_bytes())
            if not waits:
                stack.enter_context(lock)
            if _read(path, name, is_checked)[0] is None:  # else another process was faster
                if os.path.isdir(path):
                    os.rename(path, f"{directory}.damaged")  # to be removed with the scratch
                move(directory, path)
        except Exception as error:
            if not any(words in str(error) for words in _FULL):
                raise
            raise UserError(
                f"--cache_dir={cache_dir}: no room is left for {path}; make some, or name another "
                "directory"
            ) from error
    return path, facts


@contextlib.contextmanager
def scratch(
    target: str, name: str, abandoned_secs: float, unused_secs: float = math.inf
) -> Iterator[str]:
    """A new directory `…/name` on the file system of `target`; removed if it is not moved there.

    What killed processes left beside it is removed, too, once it is `abandoned_secs` old: only
    directories of our name, and only while nobody holds their lock. Of what is named as `target` is
    up to a hyphen, the same is done with what nobody has used for `unused_secs`.
    """
    parent, last = os.path.split(os.path.abspath(target))
    path = os.path.join(parent, f"{_SCRATCH}{uuid.uuid4().hex}")
    ages = {_SCRATCH + "[0-9a-f]" * 32: abandoned_secs, last.partition("-")[0] + "-*": unused_secs}
    try:
        with locked(os.path.join(path, _LOCK)):  # which makes the directory
            now = os.stat(path).st_mtime  # by the file system's clock, as the others' times
            for pattern, secs in ages.items():
                for old in glob.glob(os.path.join(glob.escape(parent), pattern, "")):
                    # Gone already, another user's, or locked, by this process, too.
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
    """Flush a directory, and move it to its place, where nothing may be.

    Without the flush, a machine that goes down could leave the move done and the files empty.
    """
    for below, _, names in os.walk(directory):
        for path in (*(os.path.join(below, name) for name in names), below):
            local.flush(path)
    os.rename(directory, target)
    local.flush(os.path.dirname(target))


def _read(path: str, name: str, is_checked: bool) -> tuple[dict[str, Any] | None, str]:
    """The facts of the artifact at `path`; or None and what is wrong with it, "" where none is."""
    if not os.path.isdir(path):
        return None, ""
    facts: dict[str, Any] = {}
    if is_checked or os.path.lexists(os.path.join(path, MANIFEST)):
        manifest = local.read_manifest(path)
        if manifest is None or manifest.facts.get("name") != name:
            return None, f"{path}: has no whole {MANIFEST} of its own"
        facts = manifest.facts
        if (damage := local.verify(path, manifest, is_checked)) is not None:
            return None, damage
    with contextlib.suppress(OSError):  # another user's
        os.utime(path)  # the time of its last use
    return facts, ""
