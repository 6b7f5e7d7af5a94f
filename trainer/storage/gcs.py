"""Storage in a bucket; see storage.py for what each function is for."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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

# Of generations: files in a stretch, five pages of a list, and stretches listed at a time, as many
# as the client has connections.
_STRETCH, _LISTED_AT_ONCE = 5_000, 8


def ensure_directory(path: str, flag: str) -> bool:
    """See storage."""
    from trainer.storage import gcs_check

    gcs_check.check(path, flag)
    return False


def write_atomically(path: str, content: bytes, metadata: Mapping[str, str] | None = None) -> None:
    """See storage. `metadata` is kept with the object and listed with it."""
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
    """See storage."""
    from google.api_core.exceptions import NotFound

    with calling(path, "read"):
        try:
            return downloaded(gcs_client.blob(path))
        except NotFound as error:
            raise FileNotFoundError(2, "No such object", path) from error


def publish(scratch: str, directory: str, facts: dict[str, Any]) -> Manifest:
    """See storage."""
    remove(directory)
    manifest = Manifest(upload(scratch, directory), facts)
    create(f"{directory}/{MANIFEST}", manifest.to_bytes())
    return manifest


def read_manifest(directory: str) -> Manifest | None:
    """See storage."""
    try:
        return parse(read_bytes(f"{directory}/{MANIFEST}"))
    except FileNotFoundError:
        return None


def damage(directory: str, manifest: Manifest) -> str | None:
    """See storage."""
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
    """See storage: downloaded by name and generation."""
    with tempfile.TemporaryDirectory(prefix="graft-fetched-") as scratch:
        download(directory, manifest, scratch)
        yield scratch


def list_names(directory: str) -> list[str]:
    """See storage."""
    _, prefix = bucket_and_name(directory)
    names = (blob.name[len(prefix) :].lstrip("/") for blob in _below(directory))
    return sorted({name.partition("/")[0] for name in names})


def list_metadata(directory: str) -> dict[str, dict[str, str]]:
    """The metadata of every object below `directory`, by its path relative to it."""
    _, prefix = bucket_and_name(directory)
    return {blob.name[len(prefix) + 1 :]: blob.metadata or {} for blob in _below(directory)}


def remove(directory: str) -> None:
    """See storage."""
    # The manifest first: False sorts before True.
    for blob in sorted(_below(directory), key=lambda b: not b.name.endswith("/" + MANIFEST)):
        _delete(blob)


def list_versions(directory: str) -> dict[str, tuple[float, int]]:
    """See storage: the bucket's clock, and the object's generation."""
    _, prefix = bucket_and_name(directory)
    found = ((blob.name[len(prefix) + 1 :], blob) for blob in _below(directory))
    return {
        name: (blob.updated.timestamp(), int(blob.generation))
        for name, blob in found
        if "/" not in name
    }


def generations(paths: Iterable[str]) -> dict[str, str]:
    """See storage.versions: of those of `paths` that are there.

    Listed from name to name, several stretches at a time: a directory of a million files takes a
    thousand requests, and of another directory below, or of more files before, none is listed.
    """
    directories: dict[str, list[str]] = {}
    for path in sorted(set(paths)):
        directories.setdefault(path.rpartition("/")[0], []).append(path)
    stretches = [
        own[begin : begin + _STRETCH]
        for own in directories.values()
        for begin in range(0, len(own), _STRETCH)
    ]
    with ThreadPoolExecutor(_LISTED_AT_ONCE) as pool:
        return {
            path: generation
            for found in pool.map(_stretch, stretches)
            for path, generation in found
        }


def _stretch(paths: Sequence[str]) -> list[tuple[str, str]]:
    """The same for some of a directory, in order."""
    directory = paths[0].rpartition("/")[0]
    bucket, _ = bucket_and_name(directory)
    root = f"gs://{bucket.name}/"
    first, last = (path.removeprefix(root) for path in (paths[0], paths[-1]))
    wanted = set(paths)
    with calling(directory, "list"):
        found = bucket.client.list_blobs(
            bucket.name,
            prefix=first[: first.rfind("/") + 1],
            delimiter="/",
            start_offset=first,
            end_offset=last + "\0",  # which is excluded
            fields="items(name,generation),nextPageToken",
            **call(),
        )
        pairs = ((root + blob.name, str(blob.generation)) for blob in found)
        return [pair for pair in pairs if pair[0] in wanted]


def remove_version(path: str, version: int) -> None:
    """See storage. The bucket itself compares the generation."""
    _delete(gcs_client.blob(path), if_generation_match=version)


def remove_file(path: str) -> None:
    """Remove one object, if it is there."""
    _delete(gcs_client.blob(path))


def _delete(blob: Any, **condition: int) -> None:
    from google.api_core.exceptions import NotFound, PreconditionFailed

    path = f"gs://{blob.bucket.name}/{blob.name}"
    with calling(path, "delete"), contextlib.suppress(NotFound, PreconditionFailed):
        blob.delete(**condition, **call())


def _below(directory: str) -> list[Any]:
    bucket, prefix = bucket_and_name(directory)
    fields = "items(name,generation,size,crc32c,metadata,updated),nextPageToken"
    with calling(directory, "list"):
        found = bucket.client.list_blobs(
            bucket.name, prefix=f"{prefix}/" if prefix else None, fields=fields, **call()
        )
        return list(found)
