"""Storage in a bucket; see api.py for what each function is for."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from trainer.storage import gcs_client
from trainer.storage.gcs_client import bucket_and_name, call, calling
from trainer.storage.gcs_transfer import (
    TRIES,
    checksum,
    create,
    download,
    downloaded,
    upload,
    wrong_checksum,
)
from trainer.storage.manifest import MANIFEST, Manifest, crc32c, parse


def ensure_directory(path: str, flag: str) -> bool:
    """See api."""
    from trainer.storage import gcs_check

    gcs_check.check(path, flag)
    return False


def write_atomically(path: str, content: bytes, metadata: Mapping[str, str] | None = None) -> None:
    """See api. `metadata` is kept with the object and listed with it."""
    blob = gcs_client.blob(path)
    blob.metadata = metadata
    with calling(path, "write"):
        for _ in range(TRIES):
            blob.upload_from_string(
                content, "application/octet-stream", checksum="crc32c", **call()
            )
            if checksum(blob) == crc32c(content):
                return
    raise wrong_checksum(path)


def read_bytes(path: str) -> bytes:
    """See api."""
    from google.api_core.exceptions import NotFound

    with calling(path, "read"):
        try:
            return downloaded(gcs_client.blob(path))
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
            return f"{directory}/{name}: is gone"
        if int(blob.size) != expected["size"]:
            return f"{directory}/{name}: {blob.size} bytes instead of {expected['size']}"
        if checksum(blob) != expected["crc32c"]:
            return f"{directory}/{name}: its checksum does not match"
    return None


@contextlib.contextmanager
def local_copy(directory: str, manifest: Manifest) -> Iterator[str]:
    """See api: downloaded by name and generation."""
    with tempfile.TemporaryDirectory(prefix="graft-fetched-") as scratch:
        download(directory, manifest, scratch)
        yield scratch


def list_names(directory: str) -> list[str]:
    """See api."""
    _, prefix = bucket_and_name(directory)
    names = (blob.name[len(prefix) :].lstrip("/") for blob in _below(directory))
    return sorted({name.partition("/")[0] for name in names})


def list_metadata(directory: str) -> dict[str, dict[str, str]]:
    """The metadata of every object below `directory`, by its path relative to it."""
    _, prefix = bucket_and_name(directory)
    return {blob.name[len(prefix) + 1 :]: blob.metadata or {} for blob in _below(directory)}


def remove(directory: str) -> None:
    """See api."""
    # The manifest first: False sorts before True.
    for blob in sorted(_below(directory), key=lambda b: not b.name.endswith("/" + MANIFEST)):
        _delete(blob)


def list_versions(directory: str) -> dict[str, tuple[float, int]]:
    """See api: the bucket's clock, and the object's generation."""
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


def remove_version(path: str, version: int, patience_secs: float | None = None) -> None:
    """See api. The bucket itself compares the generation."""
    _delete(gcs_client.blob(path), patience_secs, if_generation_match=version)


def remove_file(path: str) -> None:
    """See api."""
    _delete(gcs_client.blob(path))


def _delete(blob: Any, patience_secs: float | None = None, **condition: int) -> None:
    from google.api_core.exceptions import NotFound, PreconditionFailed

    path = f"gs://{blob.bucket.name}/{blob.name}"
    with calling(path, "delete"), contextlib.suppress(NotFound, PreconditionFailed):
        blob.delete(**condition, **call(patience_secs))


def _below(directory: str) -> list[Any]:
    bucket, prefix = bucket_and_name(directory)
    fields = "items(name,generation,size,crc32c,metadata,updated),nextPageToken"
    with calling(directory, "list"):
        found = bucket.client.list_blobs(
            bucket.name, prefix=f"{prefix}/" if prefix else None, fields=fields, **call()
        )
        return list(found)
