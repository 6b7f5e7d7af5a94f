"""Storage in a local directory; api.py documents each function and the protocol."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer.process.errors import UserError
from trainer.storage.manifest import MANIFEST, ChecksumMismatch, Manifest, crc32c, crc32c_of, parse


def ensure_directory(path: str, flag: str) -> bool:
    """See api."""
    is_new = not os.path.exists(path)
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(
            f"--{flag}={path}: must be a writable directory ({error.strerror})"
        ) from error
    return is_new


def write_atomically(path: str, content: bytes) -> None:
    """See api."""
    directory = os.path.dirname(path) or "."
    with _translating_errors(path, len(content)):
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
    flush(directory)


def read_bytes(path: str) -> bytes:
    """See api."""
    return Path(path).read_bytes()


def publish(scratch: str, directory: str, facts: dict[str, Any]) -> Manifest:
    """See api."""
    target = Path(directory)
    manifest_path = target / MANIFEST
    manifest_path.unlink(missing_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    files = {}
    for source in sorted(p for p in Path(scratch).rglob("*") if p.is_file()):
        relative = source.relative_to(scratch)
        content = source.read_bytes()
        destination = target / relative
        with _translating_errors(str(destination), len(content)):
            destination.parent.mkdir(parents=True, exist_ok=True)
            with open(destination, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        files[relative.as_posix()] = {"size": len(content), "crc32c": crc32c(content)}
    for below in {target.parent, *(target.joinpath(name).parent for name in files)}:
        flush(str(below))  # else a power failure may lose the names of complete files
    manifest = Manifest(files, facts)
    write_atomically(str(manifest_path), manifest.to_bytes())
    return manifest


def read_manifest(directory: str) -> Manifest | None:
    """See api."""
    try:
        return parse((Path(directory) / MANIFEST).read_bytes())
    except OSError:
        return None


@contextlib.contextmanager
def local_copy(directory: str, manifest: Manifest) -> Iterator[str]:
    """See api. Yields the directory itself."""
    found = verify(directory, manifest)
    if found is not None:
        raise ChecksumMismatch(found)
    yield directory


def verify(directory: str, manifest: Manifest, is_checked: bool = True) -> str | None:
    """See api. Unless `is_checked`, compares only the sizes."""
    for name, expected in manifest.files.items():
        path = Path(directory) / name
        try:
            size = path.stat().st_size
            if size != expected["size"]:
                return f"{path}: {size} bytes instead of {expected['size']}"
            if is_checked and crc32c_of(path) != expected["crc32c"]:
                return f"{path}: checksum mismatch"
        except OSError as error:
            return f"{path}: {error.strerror}"
    return None


def list_names(directory: str) -> list[str]:
    """See api."""
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []


def list_versions(directory: str) -> dict[str, tuple[float, int]]:
    """See api. Uses the file system's clock, on a network file system the server's."""
    versions = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            # Another process may replace or sweep it meanwhile.
            with contextlib.suppress(FileNotFoundError):
                if entry.is_file(follow_symlinks=False):
                    seen = entry.stat(follow_symlinks=False)
                    versions[entry.name] = (seen.st_mtime, seen.st_mtime_ns)
    return versions


def version(path: str) -> str:
    """See api.versions. Follows links."""
    with contextlib.suppress(OSError):
        status = os.stat(path)
        return f"{status.st_size} {status.st_mtime_ns}"
    return ""


def remove_file(path: str) -> None:
    """See api."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)


def remove_version(path: str, version: int, retry_secs: float | None = None) -> None:
    """See api. A race of microseconds remains between stat and unlink."""
    with contextlib.suppress(OSError):  # removed already, or another user's
        if os.stat(path, follow_symlinks=False).st_mtime_ns == version:
            os.unlink(path)


def remove(directory: str) -> None:
    """See api."""
    (Path(directory) / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _translating_errors(path: str, num_bytes: int) -> Iterator[None]:
    """Replace an OSError by a UserError that names `path` and the bytes needed."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; it needs {num_bytes:,} bytes") from error


def flush(path: str) -> None:
    """Flush the content of a file, or the entries of a directory, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
