"""Directories of models in the cache, each made once.

What is there is complete: it is written beside its place and moved there in one step, so that two
processes at once, or a kill at any moment, do no harm.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable

import tensorflow as tf

from trainer.process.errors import UserError

_ABANDONED_AFTER_SECS = 60 * 60
# As the system says it, and TensorFlow after it.
_FULL = ("No space left on device", "Disk quota exceeded")


def cached(
    cache_dir: str, name: str, write: Callable[[str], None], use_prepared: bool = True
) -> str:
    """The directory `name` of the cache, filled by `write(directory)` if it is not there yet.

    GRAFT_PREPARED_DIR, where it is set, is a cache that is only read, as of a container's image;
    `use_prepared` says whether to look there first.

    Raises:
        UserError: the cache cannot be written to, is full, or has a file in the directory's place.
    """
    prepared = os.environ.get("GRAFT_PREPARED_DIR", "")
    if use_prepared and prepared and os.path.isdir(absolute(prepared, name)):
        return absolute(prepared, name)
    target = absolute(cache_dir, name)
    if os.path.isdir(target):
        return target
    if os.path.lexists(target):
        raise UserError(
            f"--cache_dir={cache_dir}: {target} must be a directory, or not be there; remove it"
        )
    temporary = f"{target}.{os.getpid()}-{uuid.uuid4().hex}.tmp"
    try:
        os.makedirs(temporary)
        _remove_abandoned(os.path.dirname(target))
    except OSError as error:
        raise UserError(
            f"--cache_dir={cache_dir}: must be a directory that can be written to, to keep models "
            f"in ({error.filename}: {error.strerror})"
        ) from error
    try:
        write(temporary)
        _sync(temporary)
        try:
            os.rename(temporary, target)
        except OSError:
            # Another process was faster: a rename onto a directory that is not empty fails.
            if not os.path.isdir(target):
                raise
    except (OSError, tf.errors.OpError) as error:
        if not any(words in str(error) for words in _FULL):
            raise
        raise UserError(
            f"--cache_dir={cache_dir}: no room is left for {target}; make some, or name another "
            "directory"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def absolute(cache_dir: str, name: str) -> str:
    """The path of `name` in the cache."""
    return os.path.join(os.path.abspath(cache_dir), name)


def _sync(root: str) -> None:
    """Without it, a machine that goes down could leave the move done and the files empty."""
    for directory, _, names in os.walk(root):
        for name in names:
            descriptor = os.open(os.path.join(directory, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _remove_abandoned(directory: str) -> None:
    """Deletes what processes that were killed have left."""
    for entry in os.scandir(directory):
        if entry.name.endswith(".tmp") and entry.is_dir(follow_symlinks=False):
            # Another process may be doing the same.
            try:
                if time.time() - entry.stat().st_mtime > _ABANDONED_AFTER_SECS:
                    shutil.rmtree(entry.path, ignore_errors=True)
            except FileNotFoundError:
                pass
