"""Check, before a run, that this process may list, write, read and delete in a bucket."""

from __future__ import annotations

import contextlib
import time
import uuid
from typing import Any

from trainer.process.errors import GraftError, UserError
from trainer.storage import gcs_client
from trainer.storage.gcs_client import bucket_and_name, translating_errors
from trainer.storage.gcs_transfer import download_bytes

DEADLINE_SECS = 20.0
_CALL_SECS = 6.0


def check(directory: str, flag: str) -> None:
    """Try each operation of a run on the bucket once, within DEADLINE_SECS.

    Raises:
        UserError: it refuses or does not respond; the message names `flag`, the bucket, the
            account and the cause: no such bucket, no permission, no or expired credentials, a
            wrong clock, a quota, or unreachable.
    """
    from google.api_core.exceptions import NotFound

    deadline = time.monotonic() + DEADLINE_SECS
    probe = f"{directory.rstrip('/')}/.preflight-{uuid.uuid4().hex}"
    try:
        bucket, prefix = bucket_and_name(directory)
        with translating_errors(directory, "list"):
            listed = bucket.client.list_blobs(
                bucket.name, prefix=f"{prefix}/", max_results=1, **_call(deadline)
            )
            list(listed)
        blob = gcs_client.blob(probe)
        with translating_errors(directory, "write"):
            blob.upload_from_string(b"graft", checksum="crc32c", **_call(deadline))
        with translating_errors(directory, "read"):
            content = download_bytes(blob, _call(deadline))
        if content != b"graft":
            raise UserError(f"{directory}: the bytes read are not those written")
        # Deleted already: the response to the first try was lost.
        with translating_errors(directory, "delete"), contextlib.suppress(NotFound):
            blob.delete(**_call(deadline))
    except GraftError as error:
        # Nothing has begun, so any error is the user's to fix.
        raise UserError(
            f"--{flag}={directory}: {str(error).removeprefix(f'{directory}: ')}"
        ) from error


def check_readable(path: str, flag: str) -> None:
    """Check that something exists at or below `path`; TensorFlow's own errors are less clear.

    Raises:
        UserError: nothing exists, or the bucket refuses or does not respond.
    """
    try:
        gcs_client.client()
    except UserError:
        return  # without credentials TensorFlow reads public objects
    deadline = time.monotonic() + DEADLINE_SECS
    bucket, name = bucket_and_name(path)
    try:
        with translating_errors(path, "list"):
            listed = bucket.client.list_blobs(
                bucket.name, prefix=name, max_results=1, **_call(deadline)
            )
            found = list(listed)
    except GraftError as error:
        raise UserError(f"--{flag}={path}: {str(error).removeprefix(f'{path}: ')}") from error
    if not found:
        raise UserError(f"--{flag}={path}: the bucket has nothing by that name")


def _call(deadline: float) -> dict[str, Any]:
    left = max(1.0, deadline - time.monotonic())
    options = gcs_client.call_options(min(_CALL_SECS, left))
    return {**options, "timeout": (left / 4, left / 4)}
