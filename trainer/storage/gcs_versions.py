"""List and compare generations of a bucket's objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from trainer.storage import gcs_client
from trainer.storage.gcs_client import bucket_and_name, call_options, translating_errors
from trainer.storage.gcs_transfer import download_bytes

# Files in a range (five pages of a listing), and concurrent listings (the client's connections).
_RANGE_SIZE, _NUM_THREADS = 5_000, 8


def generations(paths: Iterable[str]) -> dict[str, str]:
    """Return the generation of each of `paths` that exists; see api.versions.

    Lists ranges of names concurrently: a directory of a million files takes a thousand requests,
    and neither subdirectories nor files outside the ranges are listed.
    """
    directories: dict[str, list[str]] = {}
    for path in sorted(set(paths)):
        directories.setdefault(path.rpartition("/")[0], []).append(path)
    ranges = [
        own[begin : begin + _RANGE_SIZE]
        for own in directories.values()
        for begin in range(0, len(own), _RANGE_SIZE)
    ]
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        return {
            path: generation
            for found in pool.map(_list_range, ranges)
            for path, generation in found
        }


def _list_range(paths: Sequence[str]) -> list[tuple[str, str]]:
    """List the generations of sorted `paths` of one directory."""
    directory = paths[0].rpartition("/")[0]
    bucket, _ = bucket_and_name(directory)
    root = f"gs://{bucket.name}/"
    first, last = (path.removeprefix(root) for path in (paths[0], paths[-1]))
    wanted = set(paths)
    with translating_errors(directory, "list"):
        found = bucket.client.list_blobs(
            bucket.name,
            prefix=first[: first.rfind("/") + 1],
            delimiter="/",
            start_offset=first,
            end_offset=last + "\0",  # exclusive
            fields="items(name,generation),nextPageToken",
            **call_options(),
        )
        pairs = ((root + blob.name, str(blob.generation)) for blob in found)
        return [pair for pair in pairs if pair[0] in wanted]


def replace_version(
    path: str, content: bytes, version: int, retry_secs: float | None = None
) -> int | None:
    """See api."""
    from google.api_core.exceptions import PreconditionFailed

    blob = gcs_client.blob(path)
    with translating_errors(path, "write"):
        try:
            blob.upload_from_string(
                content,
                "application/json",
                if_generation_match=version,
                checksum="crc32c",
                **call_options(retry_secs),
            )
            return int(blob.generation)
        except PreconditionFailed:
            return None


def read_newest(path: str, retry_secs: float | None = None) -> tuple[bytes, int]:
    """See api."""
    from google.api_core.exceptions import NotFound

    blob = gcs_client.blob(path)
    with translating_errors(path, "read"):
        try:
            blob.reload(**call_options(retry_secs))
            generation = int(blob.generation)
            blob = gcs_client.blob(path, generation)
            return download_bytes(blob, call_options(retry_secs)), generation
        except NotFound as error:
            raise FileNotFoundError(2, "No such object", path) from error
