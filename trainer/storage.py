"""Publish, read and list what a run leaves behind. What no manifest names does not exist.

Files are written first, under a directory of their own, and flushed; the manifest comes last, in
one atomic step. A kill at any moment leaves either the whole or nothing that counts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c

from trainer.errors import UserError

MANIFEST = "MANIFEST.json"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What makes a directory complete.

    Attributes:
        files: path relative to the directory -> {"size": bytes, "crc32c": 8 hexadecimal digits}.
        facts: what the publisher says of it (step, digest, ...), in JSON's types.
    """

    files: dict[str, dict[str, Any]]
    facts: dict[str, Any]


def ensure_directory(path: str, flag: str) -> None:
    """Make `path` and prove that it can be written to.

    Raises:
        UserError: it cannot; the message names `flag`, the path and the cause.
    """
    if "://" in path:
        raise UserError(f"--{flag}={path}: must be a local directory")
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(
            f"--{flag}={path}: must be a writable directory ({error.strerror})"
        ) from error


def write_atomically(path: str, content: bytes) -> None:
    """Replace the file at `path` as a whole: a reader sees the old content or the new."""
    directory = os.path.dirname(path) or "."
    with _failing_as(path, len(content)):
        _write_atomically(path, directory, content)


def _write_atomically(path: str, directory: str, content: bytes) -> None:
    os.makedirs(directory, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=directory, prefix=".partial-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _fsync_directory(directory)


def write_json(path: str, value: Any) -> None:
    """`write_atomically` for JSON, indented, with a final newline."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(path, (text + "\n").encode())


def read_bytes(path: str) -> bytes:
    """The content of a file.

    Raises:
        OSError: there is none, or it cannot be read.
    """
    return Path(path).read_bytes()


def publish(scratch: str, directory: str, facts: dict[str, Any]) -> Manifest:
    """Make the files under `scratch` the complete content of `directory`.

    Args:
        scratch: a directory on any file system; it is left as it is.
        directory: where to; whatever is there stops existing, its manifest first.
        facts: kept in the manifest.
    """
    target = Path(directory)
    manifest_path = target / MANIFEST
    manifest_path.unlink(missing_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    files = {}
    for source in sorted(p for p in Path(scratch).rglob("*") if p.is_file()):
        relative = source.relative_to(scratch)
        content = source.read_bytes()
        destination = target / relative
        with _failing_as(str(destination), len(content)):
            destination.parent.mkdir(parents=True, exist_ok=True)
            with open(destination, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        files[relative.as_posix()] = {"size": len(content), "crc32c": _crc32c(content)}
    for below in {target.parent, *(target.joinpath(name).parent for name in files)}:
        _fsync_directory(str(below))  # or a power cut takes the names of files that are whole
    manifest = Manifest(files, facts)
    write_json(str(manifest_path), dataclasses.asdict(manifest))
    return manifest


def read_manifest(directory: str) -> Manifest | None:
    """The manifest of `directory`; None where there is none that can be read."""
    try:
        content = json.loads((Path(directory) / MANIFEST).read_bytes())
        files = {
            str(name): {"size": int(file["size"]), "crc32c": str(file["crc32c"])}
            for name, file in content["files"].items()
        }
        return Manifest(files, dict(content["facts"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def damage(directory: str, manifest: Manifest) -> str | None:
    """What is wrong with the published files, in words; None where every byte is as it was."""
    for name, expected in manifest.files.items():
        path = Path(directory) / name
        try:
            content = path.read_bytes()
        except OSError as error:
            return f"{path}: {error.strerror}"
        if len(content) != expected["size"]:
            return f"{path}: {len(content)} bytes instead of {expected['size']}"
        if _crc32c(content) != expected["crc32c"]:
            return f"{path}: its checksum does not match"
    return None


def list_names(directory: str) -> list[str]:
    """The names under `directory` in order, whether complete or not; empty where it is absent."""
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []


def remove(directory: str) -> None:
    """Remove a published directory, its manifest first, so that a kill leaves no half."""
    (Path(directory) / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _failing_as(path: str, num_bytes: int) -> Iterator[None]:
    """An OSError within becomes a UserError that names `path` and what it needs."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; it needs {num_bytes:,} bytes") from error


def _crc32c(content: bytes) -> str:
    return f"{google_crc32c.value(content):08x}"


def _fsync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
