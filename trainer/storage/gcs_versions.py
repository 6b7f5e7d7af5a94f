"""Generations of a bucket's objects: listed, and compared by the bucket itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from trainer.storage import gcs_client
from trainer.storage.gcs_client import bucket_and_name, call, calling
from trainer.storage.gcs_transfer import downloaded

# Of generations: files in a stretch, five pages of a list, and stretches listed at a time, as many
# as the client has connections.
_STRETCH, _LISTED_AT_ONCE = 5_000, 8


def generations(paths: Iterable[str]) -> dict[str, str]:
    """See api.versions: of those of `paths` that are there.

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


def replace_version(
    path: str, content: bytes, version: int, patience_secs: float | None = None
) -> int | None:
    """See api."""
    from google.api_core.exceptions import PreconditionFailed

    blob = gcs_client.blob(path)
    with calling(path, "write"):
        try:
            blob.upload_from_string(
                content,
                "application/json",
                if_generation_match=version,
                checksum="crc32c",
                **call(patience_secs),
            )
            return int(blob.generation)
        except PreconditionFailed:
            return None


def read_newest(path: str, patience_secs: float | None = None) -> tuple[bytes, int]:
    """See api."""
    from google.api_core.exceptions import NotFound

    blob = gcs_client.blob(path)
    with calling(path, "read"):
        try:
            blob.reload(**call(patience_secs))
            generation = int(blob.generation)
            blob = gcs_client.blob(path, generation)
            return downloaded(blob, call(patience_secs)), generation
        except NotFound as error:
            raise FileNotFoundError(2, "No such object", path) from error
