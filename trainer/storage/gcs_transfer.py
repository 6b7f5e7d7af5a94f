"""Objects in and out of a bucket, with their checksums.

Every object is made with the condition that it is not there yet, so that a call may be repeated,
and no two processes overwrite each other. When the answer to a call is lost, its repetition finds
the object there: the checksum says whether it is ours.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

from trainer.process.errors import StorageUnreachable
from trainer.storage import gcs_client
from trainer.storage.gcs_client import bucket_and_name, call, calling
from trainer.storage.manifest import ChecksumMismatch, Manifest, crc32c, crc32c_of, described

_NUM_THREADS = 8
TRIES = 3  # of what arrives with a wrong checksum


def upload(scratch: str, directory: str) -> dict[str, dict[str, Any]]:
    """Make an object of every file below `scratch`; returns what a manifest says of them."""
    from google.cloud.storage import transfer_manager

    bucket, prefix = bucket_and_name(directory)
    files = described(scratch)
    waiting = list(files)
    with calling(directory, "write"):
        for _ in range(TRIES):
            blobs = {name: bucket.blob(f"{prefix}/{name}") for name in waiting}
            outcomes = transfer_manager.upload_many(
                [(os.path.join(scratch, name), blob) for name, blob in blobs.items()],
                upload_kwargs={"if_generation_match": 0, "checksum": "crc32c", **call()},
                worker_type=transfer_manager.THREAD,
                max_workers=_NUM_THREADS,
            )
            for (name, blob), outcome in zip(blobs.items(), outcomes, strict=True):
                generation = _settled(blob, outcome, **files[name])
                if generation is not None:
                    files[name]["generation"] = generation
                    waiting.remove(name)
            if not waiting:
                return files
    raise wrong_checksum(f"{directory}/{min(waiting)}")


def create(path: str, content: bytes) -> int:
    """Make an object that is not there; returns its generation.

    Raises:
        StorageUnreachable: another one is there.
    """
    from google.api_core.exceptions import PreconditionFailed

    blob, outcome = gcs_client.blob(path), None
    with calling(path, "write"):
        try:
            blob.upload_from_string(
                content,
                "application/json",
                if_generation_match=0,
                checksum="crc32c",
                **call(),
            )
        except PreconditionFailed as error:
            outcome = error
        generation = _settled(blob, outcome, len(content), crc32c(content))
    if generation is None:
        raise wrong_checksum(path)
    return generation


def download(directory: str, manifest: Manifest, scratch: str) -> None:
    """Fetch what `manifest` names, by name and generation, into `scratch`.

    Raises:
        Damaged: it is gone, or not what the manifest says.
    """
    from google.cloud.storage import transfer_manager

    pairs = []
    for name, file in manifest.files.items():
        target = os.path.join(scratch, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        blob = gcs_client.blob(f"{directory}/{name}", generation=file["generation"])
        pairs.append((blob, target))
    with calling(directory, "read"):
        for _ in range(TRIES):
            outcomes = transfer_manager.download_many(
                pairs,
                download_kwargs={"checksum": "crc32c", **call()},
                worker_type=transfer_manager.THREAD,
                max_workers=_NUM_THREADS,
            )
            failed = [(p, o) for p, o in zip(pairs, outcomes, strict=True) if o is not None]
            for (blob, _), outcome in failed:
                if getattr(outcome, "code", None) == 404:
                    raise ChecksumMismatch(f"gs://{blob.bucket.name}/{blob.name}: is gone")
                if not isinstance(outcome, _arrived_badly()):
                    raise outcome
            pairs = [pair for pair, _ in failed]
    if pairs:
        raise ChecksumMismatch(f"{directory}: {pairs[0][0].name} arrives with a wrong checksum")
    for name, file in manifest.files.items():
        path = Path(scratch, name)
        if (path.stat().st_size, crc32c_of(path)) != (file["size"], file["crc32c"]):
            raise ChecksumMismatch(f"{directory}/{name}: its checksum does not match")


def downloaded(blob: Any, patience: dict[str, Any] | None = None) -> bytes:
    """The content of an object, which arrived with the right checksum.

    Args:
        blob: the object.
        patience: what `call` gave, if not the usual.
    """
    for attempt in range(TRIES):
        try:
            return blob.download_as_bytes(checksum="crc32c", **(patience or call()))
        except _arrived_badly():
            if attempt == TRIES - 1:
                raise
    raise AssertionError("not reached")


def checksum(blob: Any) -> str:
    """CRC-32C of an object as 8 hexadecimal digits, as the bucket says."""
    return base64.b64decode(blob.crc32c or "").hex()


def wrong_checksum(path: str) -> StorageUnreachable:
    """What to raise when bytes did not arrive as they were sent, time and again."""
    return StorageUnreachable(f"{path}: arrives with a wrong checksum, {TRIES} times")


def _arrived_badly() -> tuple[type[Exception], ...]:
    """What the library does not try again: wrong bytes, and the body of a refusal cut short."""
    from google.cloud.storage.exceptions import DataCorruption
    from requests.exceptions import ChunkedEncodingError

    return DataCorruption, ChunkedEncodingError


def _settled(blob: Any, outcome: Any, size: int, crc32c: str) -> int | None:
    """The generation of an upload that may have been committed without our hearing of it.

    None where it must be sent again.
    """
    from google.api_core.exceptions import NotFound, PreconditionFailed
    from google.cloud.storage.exceptions import DataCorruption

    if outcome is not None and not isinstance(outcome, (PreconditionFailed, DataCorruption)):
        raise outcome
    is_known = outcome is None
    for _ in range(TRIES):
        try:
            if not is_known:
                blob.reload(**call())
        except NotFound:  # the library removes what it takes for corrupt
            return None
        if (int(blob.size), checksum(blob)) == (size, crc32c):
            return int(blob.generation)
        is_known = False
    raise StorageUnreachable(
        f"gs://{blob.bucket.name}/{blob.name}: holds other bytes than were sent; does another "
        "process write here?"
    )
