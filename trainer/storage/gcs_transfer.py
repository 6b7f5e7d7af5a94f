"""Upload and download objects of a bucket, with checksums.

Every object is created on the condition that it does not exist, so that calls can be retried and
processes cannot overwrite each other's objects. If a response is lost, the retry finds the
object: its checksum tells whether it is ours.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

from trainer.process.errors import StorageUnreachable
from trainer.storage import gcs_client
from trainer.storage.gcs_client import bucket_and_name, call_options, translating_errors
from trainer.storage.manifest import ChecksumMismatch, Manifest, crc32c, crc32c_of, file_entries

_NUM_THREADS = 8
TRIES = 3  # of a transfer with a checksum mismatch


def upload(scratch: str, directory: str) -> dict[str, dict[str, Any]]:
    """Upload every file below `scratch`, and return the manifest's entries."""
    from google.cloud.storage import transfer_manager

    bucket, prefix = bucket_and_name(directory)
    files = file_entries(scratch)
    pending = list(files)
    with translating_errors(directory, "write"):
        for _ in range(TRIES):
            blobs = {name: bucket.blob(f"{prefix}/{name}") for name in pending}
            outcomes = transfer_manager.upload_many(
                [(os.path.join(scratch, name), blob) for name, blob in blobs.items()],
                upload_kwargs={"if_generation_match": 0, "checksum": "crc32c", **call_options()},
                worker_type=transfer_manager.THREAD,
                max_workers=_NUM_THREADS,
            )
            for (name, blob), outcome in zip(blobs.items(), outcomes, strict=True):
                generation = _committed_generation(blob, outcome, **files[name])
                if generation is not None:
                    files[name]["generation"] = generation
                    pending.remove(name)
            if not pending:
                return files
    raise checksum_error(f"{directory}/{min(pending)}")


def create(path: str, content: bytes) -> int:
    """Create an object, and return its generation.

    Raises:
        StorageUnreachable: another process created it.
    """
    from google.api_core.exceptions import PreconditionFailed

    blob, outcome = gcs_client.blob(path), None
    with translating_errors(path, "write"):
        try:
            blob.upload_from_string(
                content,
                "application/json",
                if_generation_match=0,
                checksum="crc32c",
                **call_options(),
            )
        except PreconditionFailed as error:
            outcome = error
        generation = _committed_generation(blob, outcome, len(content), crc32c(content))
    if generation is None:
        raise checksum_error(path)
    return generation


def download(directory: str, manifest: Manifest, scratch: str) -> None:
    """Download the files of `manifest`, by name and generation, into `scratch`.

    Raises:
        ChecksumMismatch: a file is missing, or does not match the manifest.
    """
    from google.cloud.storage import transfer_manager

    pairs = []
    for name, file in manifest.files.items():
        target = os.path.join(scratch, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        blob = gcs_client.blob(f"{directory}/{name}", generation=file["generation"])
        pairs.append((blob, target))
    with translating_errors(directory, "read"):
        for _ in range(TRIES):
            outcomes = transfer_manager.download_many(
                pairs,
                download_kwargs={"checksum": "crc32c", **call_options()},
                worker_type=transfer_manager.THREAD,
                max_workers=_NUM_THREADS,
            )
            failed = [(p, o) for p, o in zip(pairs, outcomes, strict=True) if o is not None]
            for (blob, _), outcome in failed:
                if getattr(outcome, "code", None) == 404:
                    raise ChecksumMismatch(f"gs://{blob.bucket.name}/{blob.name}: is missing")
                if not isinstance(outcome, _retryable_errors()):
                    raise outcome
            pairs = [pair for pair, _ in failed]
    if pairs:
        raise ChecksumMismatch(f"{directory}: {pairs[0][0].name}: checksum mismatch in transfer")
    for name, file in manifest.files.items():
        path = Path(scratch, name)
        if (path.stat().st_size, crc32c_of(path)) != (file["size"], file["crc32c"]):
            raise ChecksumMismatch(f"{directory}/{name}: checksum mismatch")


def download_bytes(blob: Any, options: dict[str, Any] | None = None) -> bytes:
    """Return the content of an object, with its checksum verified.

    Args:
        blob: the object.
        options: from `call_options`; its defaults if None.
    """
    for attempt in range(TRIES):
        try:
            return blob.download_as_bytes(checksum="crc32c", **(options or call_options()))
        except _retryable_errors():
            if attempt == TRIES - 1:
                raise
    raise AssertionError("not reached")


def checksum(blob: Any) -> str:
    """Return the bucket's CRC-32C of an object as 8 hexadecimal digits."""
    return base64.b64decode(blob.crc32c or "").hex()


def checksum_error(path: str) -> StorageUnreachable:
    """Return the error for repeated checksum mismatches in transfer."""
    return StorageUnreachable(f"{path}: checksum mismatch in {TRIES} transfers")


def _retryable_errors() -> tuple[type[Exception], ...]:
    """Return errors that the library does not retry: corrupt data, and truncated responses."""
    from google.cloud.storage.exceptions import DataCorruption
    from requests.exceptions import ChunkedEncodingError

    return DataCorruption, ChunkedEncodingError


def _committed_generation(blob: Any, outcome: Any, size: int, crc32c: str) -> int | None:
    """Return the generation of an upload whose response may be lost, None to retry it."""
    from google.api_core.exceptions import NotFound, PreconditionFailed
    from google.cloud.storage.exceptions import DataCorruption

    if outcome is not None and not isinstance(outcome, (PreconditionFailed, DataCorruption)):
        raise outcome
    is_known = outcome is None
    for _ in range(TRIES):
        try:
            if not is_known:
                blob.reload(**call_options())
        except NotFound:  # the library removes corrupt objects
            return None
        if (int(blob.size), checksum(blob)) == (size, crc32c):
            return int(blob.generation)
        is_known = False
    raise StorageUnreachable(
        f"gs://{blob.bucket.name}/{blob.name}: holds different bytes than were sent; does another "
        "process write here?"
    )
