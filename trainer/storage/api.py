"""Publish, read and list a run's files, locally or in a bucket.

Both backends follow one protocol: files are written and verified first, under unique names; the
manifest is written last, in one atomic step, and no rename commits anything. A file that no
manifest names does not count, so a kill at any moment leaves complete directories or none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from trainer.process.errors import UserError
from trainer.storage import gcs, gcs_versions
from trainer.storage import local as local_storage
from trainer.storage.manifest import MANIFEST, ChecksumMismatch, Manifest, to_json

__all__ = ["MANIFEST", "ChecksumMismatch", "Manifest"]


def is_remote(path: str) -> bool:
    """Whether `path` is in a bucket."""
    return str(path).startswith("gs://")


def join(directory: str, *names: str) -> str:
    """Return the path of a file below `directory`."""
    return "/".join((str(directory).rstrip("/"), *names))


def ensure_directory(path: str, flag: str) -> bool:
    """Create `path` and check that it is writable.

    Returns:
        Whether a local directory was created.

    Raises:
        UserError: it is not writable; the message names `flag`, the path and the cause.
    """
    if "://" in path and not is_remote(path):
        raise UserError(f"--{flag}={path}: must be a local directory or gs://BUCKET/DIRECTORY")
    return _backend(path).ensure_directory(path, flag)


def write_atomically(path: str, content: bytes, metadata: Mapping[str, str] | None = None) -> None:
    """Replace the file at `path` atomically: a reader sees the old or the new content.

    Args:
        path: of the file.
        content: all of it.
        metadata: stored with an object of a bucket, for list_metadata.
    """
    if is_remote(path):
        gcs.write_atomically(path, content, metadata)
    else:
        local_storage.write_atomically(path, content)


def write_json(path: str, value: Any) -> None:
    """Write `value` as indented JSON; see write_atomically."""
    write_atomically(path, to_json(value))


def read_bytes(path: str) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: it does not exist or cannot be read.
    """
    return _backend(path).read_bytes(path)


def publish(scratch: str, directory: str, facts: dict[str, Any]) -> Manifest:
    """Publish the files under `scratch` as the complete content of `directory`.

    Args:
        scratch: a local directory, left unchanged.
        directory: destination; existing content is removed, its manifest first.
        facts: stored in the manifest.
    """
    return _backend(directory).publish(scratch, directory, facts)


def read_manifest(directory: str) -> Manifest | None:
    """Return the manifest of `directory`, None if it is missing or invalid."""
    return _backend(directory).read_manifest(directory)


def verify(directory: str, manifest: Manifest) -> str | None:
    """Return a message about the first published file that does not match, None if all do.

    A bucket reports its objects' checksums, so nothing is downloaded.
    """
    return _backend(directory).verify(directory, manifest)


def local_copy(directory: str, manifest: Manifest) -> contextlib.AbstractContextManager[str]:
    """Provide a local directory with the verified published files within a `with`.

    Raises:
        ChecksumMismatch: they do not match the manifest.
    """
    return _backend(directory).local_copy(directory, manifest)


def list_names(directory: str) -> list[str]:
    """Return the sorted names under `directory`, complete or not; empty if it is missing."""
    return _backend(directory).list_names(directory)


def list_metadata(directory: str) -> dict[str, dict[str, str]]:
    """Return the metadata of every object of a bucket below `directory`, by relative path."""
    return gcs.list_metadata(directory)


def list_versions(directory: str) -> dict[str, tuple[float, int]]:
    """Return the files directly in `directory` by name; empty if it is missing.

    Returns:
        For each its modification time by the store's clock, and its version number.
    """
    return _backend(directory).list_versions(directory)


def versions(paths: Sequence[str]) -> list[str]:
    """Return each file's version: a local one's size and time, a bucket's generation; "" if
    missing or elsewhere.

    Buckets are listed: one request per 1,000 files, more if they are far apart.

    Raises:
        UserError, StorageUnreachable: a bucket cannot be listed.
    """
    generations = gcs_versions.generations([path for path in paths if is_remote(path)])
    return [
        generations.get(path, "") if is_remote(path) else local_storage.version(path)
        for path in paths
    ]


def remove_version(path: str, version: int, retry_secs: float | None = None) -> None:
    """Remove a file if it still has the `version` that `list_versions` returned."""
    _backend(path).remove_version(path, version, retry_secs)


def replace_version(
    path: str, content: bytes, version: int, retry_secs: float | None = None
) -> int | None:
    """Write an object of a bucket if its version is still `version` (0: it does not exist).

    The bucket compares and writes atomically.

    Returns:
        The version written; None if another was written meanwhile.
    """
    return gcs_versions.replace_version(path, content, version, retry_secs)


def read_newest(path: str, retry_secs: float | None = None) -> tuple[bytes, int]:
    """Return the content and the version of an object of a bucket.

    Raises:
        FileNotFoundError: it does not exist.
    """
    return gcs_versions.read_newest(path, retry_secs)


def check_readable(path: str, flag: str) -> None:
    """Check that a bucket has something at or below `path`, within seconds.

    Raises:
        UserError: it has nothing, refuses or does not respond; the message names `flag`.
    """
    gcs.check_readable(path, flag)


def remove_file(path: str) -> None:
    """Remove a file, if it exists."""
    _backend(path).remove_file(path)


def remove(directory: str) -> None:
    """Remove a published directory, its manifest first, so that a kill leaves it incomplete."""
    _backend(directory).remove(directory)


def _backend(path: str) -> ModuleType:
    return gcs if is_remote(path) else local_storage
