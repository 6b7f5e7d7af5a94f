"""Publish, read and list what a run leaves behind. What no manifest names does not exist.

A path is a local one or gs://bucket/…. Both keep one protocol: files are written first, under
names that nothing else uses, and checked; the manifest comes last, in one atomic step, and no
rename commits anything. A kill at any moment leaves either the whole or nothing that counts.
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
    """The path of a file below `directory`."""
    return "/".join((str(directory).rstrip("/"), *names))


def ensure_directory(path: str, flag: str) -> bool:
    """Make `path` and prove that it can be written to.

    Returns:
        whether a local directory was made.

    Raises:
        UserError: it cannot; the message names `flag`, the path and the cause.
    """
    if "://" in path and not is_remote(path):
        raise UserError(f"--{flag}={path}: must be a local directory or gs://BUCKET/DIRECTORY")
    return _backend(path).ensure_directory(path, flag)


def write_atomically(path: str, content: bytes, metadata: Mapping[str, str] | None = None) -> None:
    """Replace the file at `path` as a whole: a reader sees the old content or the new.

    Args:
        path: of the file.
        content: all of it.
        metadata: kept with an object of a bucket, for list_metadata.
    """
    if is_remote(path):
        gcs.write_atomically(path, content, metadata)
    else:
        local_storage.write_atomically(path, content)


def write_json(path: str, value: Any) -> None:
    """`write_atomically` for JSON, indented, with a final newline."""
    write_atomically(path, to_json(value))


def read_bytes(path: str) -> bytes:
    """The content of a file.

    Raises:
        OSError: there is none, or it cannot be read.
    """
    return _backend(path).read_bytes(path)


def publish(scratch: str, directory: str, facts: dict[str, Any]) -> Manifest:
    """Make the files under `scratch` the complete content of `directory`.

    Args:
        scratch: a local directory; it is left as it is.
        directory: where to; whatever is there stops existing, its manifest first.
        facts: kept in the manifest.
    """
    return _backend(directory).publish(scratch, directory, facts)


def read_manifest(directory: str) -> Manifest | None:
    """The manifest of `directory`; None where there is none that can be read."""
    return _backend(directory).read_manifest(directory)


def verify(directory: str, manifest: Manifest) -> str | None:
    """What is wrong with the published files, in words; None where all is as it was.

    A bucket answers for its checksums: nothing is downloaded.
    """
    return _backend(directory).verify(directory, manifest)


def local_copy(directory: str, manifest: Manifest) -> contextlib.AbstractContextManager[str]:
    """A local directory, for the time of a `with`, that holds the published files, verified.

    Raises:
        Damaged: they are not what the manifest says.
    """
    return _backend(directory).local_copy(directory, manifest)


def list_names(directory: str) -> list[str]:
    """The names under `directory` in order, whether complete or not; empty where it is absent."""
    return _backend(directory).list_names(directory)


def list_metadata(directory: str) -> dict[str, dict[str, str]]:
    """The metadata of every object of a bucket below `directory`, by its relative path."""
    return gcs.list_metadata(directory)


def list_versions(directory: str) -> dict[str, tuple[float, int]]:
    """The files that lie in `directory` itself, by name; empty where it is absent.

    Returns:
        For each when it was written, in seconds by the store's own clock, and a number that no
        later version of it has.
    """
    return _backend(directory).list_versions(directory)


def versions(paths: Sequence[str]) -> list[str]:
    """For each file what changes when it is written again: a local one's size and time, a
    bucket's generation; "" where it is gone, which reading it will tell, or anywhere else.

    A bucket is asked by listing: a request for 1,000 files, more where they lie far apart.

    Raises:
        UserError, StorageUnreachable: a bucket cannot be listed.
    """
    generations = gcs_versions.generations([path for path in paths if is_remote(path)])
    return [
        generations.get(path, "") if is_remote(path) else local_storage.version(path)
        for path in paths
    ]


def remove_version(path: str, version: int, patience_secs: float | None = None) -> None:
    """Remove a file that is still what `list_versions` saw: whoever wrote it anew needs it."""
    _backend(path).remove_version(path, version, patience_secs)


def replace_version(
    path: str, content: bytes, version: int, patience_secs: float | None = None
) -> int | None:
    """Write an object of a bucket if its newest version is still `version`; 0: if there is none.

    The bucket compares, in one step with the write.

    Returns:
        the version written; None where another has been written meanwhile.
    """
    return gcs_versions.replace_version(path, content, version, patience_secs)


def read_newest(path: str, patience_secs: float | None = None) -> tuple[bytes, int]:
    """The content and the version of an object of a bucket.

    Raises:
        FileNotFoundError: there is none.
    """
    return gcs_versions.read_newest(path, patience_secs)


def check_readable(path: str, flag: str) -> None:
    """Ask a bucket for what is at `path`, or below it, once and within seconds.

    Raises:
        UserError: there is nothing, or the bucket refuses, or does not answer; `flag` is named.
    """
    gcs.check_readable(path, flag)


def remove_file(path: str) -> None:
    """Remove one file, if it is there."""
    _backend(path).remove_file(path)


def remove(directory: str) -> None:
    """Remove a published directory, its manifest first, so that a kill leaves no half."""
    _backend(directory).remove(directory)


def _backend(path: str) -> ModuleType:
    return gcs if is_remote(path) else local_storage
