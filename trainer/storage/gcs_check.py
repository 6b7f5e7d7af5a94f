"""Before money is spent: whether this process may list, write, read and delete in a bucket."""

from __future__ import annotations

import contextlib
import time
import uuid
from typing import Any

from trainer.process.errors import GraftError, UserError
from trainer.storage import gcs_client
from trainer.storage.gcs_client import bucket_and_name, calling
from trainer.storage.gcs_transfer import downloaded

DEADLINE_SECS = 20.0
_MOST_SECS_OF_A_CALL = 6.0


def check(directory: str, flag: str) -> None:
    """Ask the bucket for all that a run will, once, within DEADLINE_SECS.

    Raises:
        UserError: it refuses, or does not answer; the message names `flag`, the bucket, who asked
            and why: no such bucket, no permission, no or expired credentials, a wrong clock, a
            quota, or not reachable.
    """
    from google.api_core.exceptions import NotFound

    deadline = time.monotonic() + DEADLINE_SECS
    probe = f"{directory.rstrip('/')}/.preflight-{uuid.uuid4().hex}"
    try:
        bucket, prefix = bucket_and_name(directory)
        with calling(directory, "list"):
            listed = bucket.client.list_blobs(
                bucket.name, prefix=f"{prefix}/", max_results=1, **_call(deadline)
            )
            list(listed)
        blob = gcs_client.blob(probe)
        with calling(directory, "write"):
            blob.upload_from_string(b"graft", checksum="crc32c", **_call(deadline))
        with calling(directory, "read"):
            content = downloaded(blob, _call(deadline))
        if content != b"graft":
            raise UserError(f"{directory}: what is read is not what was written")
        # Gone already: the answer to a first try was lost.
        with calling(directory, "delete"), contextlib.suppress(NotFound):
            blob.delete(**_call(deadline))
    except GraftError as error:
        # Whatever it is, nothing has begun: a person must look.
        raise UserError(
            f"--{flag}={directory}: {str(error).removeprefix(f'{directory}: ')}"
        ) from error


def check_readable(path: str, flag: str) -> None:
    """Ask for what is at `path`, or below it, before TensorFlow does: it says less of a refusal.

    Raises:
        UserError: there is nothing, or the bucket refuses, or does not answer.
    """
    try:
        gcs_client.client()
    except UserError:
        return  # without credentials TensorFlow reads what is public
    deadline = time.monotonic() + DEADLINE_SECS
    bucket, name = bucket_and_name(path)
    try:
        with calling(path, "list"):
            listed = bucket.client.list_blobs(
                bucket.name, prefix=name, max_results=1, **_call(deadline)
            )
            found = list(listed)
    except GraftError as error:
        raise UserError(f"--{flag}={path}: {str(error).removeprefix(f'{path}: ')}") from error
    if not found:
        raise UserError(f"--{flag}={path}: there is nothing in the bucket by that name")


def _call(deadline: float) -> dict[str, Any]:
    left = max(1.0, deadline - time.monotonic())
    call = gcs_client.call(min(_MOST_SECS_OF_A_CALL, left))
    return {**call, "timeout": (left / 4, left / 4)}
