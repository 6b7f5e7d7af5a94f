"""Storage in a bucket; api.py documents each function."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from trainer.storage import gcs_client
from trainer.storage.gcs_client import bucket_and_name, call_options, translating_errors
from trainer.storage.gcs_transfer import (
    TRIES,
    checksum,
    checksum_error,
    create,
    download,
    download_bytes,
    upload,
)
from trainer.storage.manifest import MANIFEST, Manifest, crc32c, parse


def ensure_directory(path: str, flag: str) -> bool:
    """See api."""
    from trainer.storage import gcs_check

    gcs_check.check(path, flag)
    return False


def write_atomically(path: str, content: bytes, metadata: Mapping[str, str] | None = None) -> None:
    """See api. `metadata` is stored with the object and listed with it."""
    blob = gcs_client.blob(path)
    blob.metadata = metadata
    with translating_errors(path, "write"):
        for _ in range(TRIES):
            blob.upload_from_string(
                content, "application/octet-stream", checksum="crc32c", **call_options()
            )
            if checksum(blob) == crc32c(content):
                return
    raise checksum_error(path)


def read_bytes(path: str) -> bytes:
    """See api."""
    from google.api_core.exceptions import NotFound

    with translating_errors(path, "read"):
        try:
            return download_bytes(gcs_client.blob(path))
        except NotFound as error:
            raise FileNotFoundError(2, "No such object", path) from error


def publish(scratch: str, directory: str, facts: dict[str, Any]) -> Manifest:
    """See api."""
    remove(directory)
    manifest = Manifest(upload(scratch, directory), facts)
    create(f"{directory}/{MANIFEST}", manifest.to_bytes())
    return manifest


def read_manifest(directory: str) -> Manifest | None:
    """See api."""
    try:
        return parse(read_bytes(f"{directory}/{MANIFEST}"))
    except FileNotFoundError:
        return None


def verify(directory: str, manifest: Manifest) -> str | None:
    """See api."""
    found = {blob.name: blob for blob in _below(directory)}
    _, prefix = bucket_and_name(directory)
    for name, expected in manifest.files.items():
        blob = found.get(f"{prefix}/{name}")
        if blob is None:
            return f"{directory}/{name}: is missing"
        if int(blob.size) != expected["size"]:
            return f"{directory}/{name}: {blob.size} bytes instead of {expected['size']}"
        if checksum(blob) != expected["crc32c"]:
            return f"{directory}/{name}: checksum mismatch"
    return None


@contextlib.contextmanager
def local_copy(directory: str, manifest: Manifest) -> Iterator[str]:
    """See api. Downloads by name and generation."""
    with tempfile.TemporaryDirectory(prefix="graft-fetched-") as scratch:
        download(directory, manifest, scratch)
        yield scratch


def list_names(directory: str) -> list[str]:
    """See api."""
    _, prefix = bucket_and_name(directory)
    names = (blob.name[len(prefix) :].lstrip("/") for blob in _below(directory))
    return sorted({name.partition("/")[0] for name in names})


def list_metadata(directory: str) -> dict[str, dict[str, str]]:
    """See api."""
    _, prefix = bucket_and_name(directory)
    return {blob.name[len(prefix) + 1 :]: blob.metadata or {} for blob in _below(directory)}


def remove(directory: str) -> None:
    """See api."""
    # The manifest first: False sorts before True.
    for blob in sorted(_below(directory), key=lambda b: not b.name.endswith("/" + MANIFEST)):
        _delete(blob)


def list_versions(directory: str) -> dict[str, tuple[float, int]]:
    """See api. Uses the bucket's clock and the object's generation."""
    _, prefix = bucket_and_name(directory)
    found = ((blob.name[len(prefix) + 1 :], blob) for blob in _below(directory))
    return {
        name: (blob.updated.timestamp(), int(blob.generation))
        for name, blob in found
        if "/" not in name
    }


def check_readable(path: str, flag: str) -> None:
    """See api."""
    from trainer.storage import gcs_check

    gcs_check.check_readable(path, flag)


def remove_version(path: str, version: int, retry_secs: float | None = None) -> None:
    """See api. The bucket compares the generation."""
    _delete(gcs_client.blob(path), retry_secs, if_generation_match=version)


def remove_file(path: str) -> None:
    """See api."""
    _delete(gcs_client.blob(path))


def _delete(blob: Any, retry_secs: float | None = None, **condition: int) -> None:
    from google.api_core.exceptions import NotFound, PreconditionFailed

    path = f"gs://{blob.bucket.name}/{blob.name}"
    with translating_errors(path, "delete"), contextlib.suppress(NotFound, PreconditionFailed):
        blob.delete(**condition, **call_options(retry_secs))


def _below(directory: str) -> list[Any]:
    bucket, prefix = bucket_and_name(directory)
    fields = "items(name,generation,size,crc32c,metadata,updated),nextPageToken"
    with translating_errors(directory, "list"):
        found = bucket.client.list_blobs(
            bucket.name, prefix=f"{prefix}/" if prefix else None, fields=fields, **call_options()
        )
        return list(found)
