"""The Google Cloud Storage client: created on first use, with retries and clear errors.

google-cloud-storage is imported only if a gs:// path is used.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any

from trainer.process.errors import GraftError, StorageUnreachable, UserError

# How long to retry one call: longer than a typical outage of a bucket.
RETRY_SECS = 120.0
_CONNECT_SECS, _READ_SECS = 5.0, 30.0
_PERMISSIONS = {
    "list": "storage.objects.list",
    "read": "storage.objects.get",
    "write": "storage.objects.create",
    "delete": "storage.objects.delete",
}


def client() -> Any:
    """Return the process's client; STORAGE_EMULATOR_HOST selects an emulator."""
    return _client(os.environ.get("STORAGE_EMULATOR_HOST"))


@functools.lru_cache
def _client(emulator_host: str | None) -> Any:
    from google.auth.exceptions import DefaultCredentialsError
    from google.cloud import storage

    try:
        # A project is only needed to create buckets.
        return storage.Client(project=os.environ.get("GOOGLE_CLOUD_PROJECT", "none"))
    except DefaultCredentialsError as error:
        raise UserError(
            "gs:// paths need credentials, and there are none: use a service account of the "
            "machine, Workload Identity, GOOGLE_APPLICATION_CREDENTIALS, or "
            f"`gcloud auth application-default login` ({_line(error)})"
        ) from error


def close() -> None:
    """Close the client and its connections."""
    if _client.cache_info().currsize:
        client().close()
        _client.cache_clear()


def bucket_and_name(path: str) -> tuple[Any, str]:
    """Return the bucket, and the object name without a trailing slash.

    Raises:
        UserError: `path` names no bucket, or an invalid one.
    """
    bucket, _, name = path.removeprefix("gs://").partition("/")
    if not bucket:
        raise UserError(f"{path}: names no bucket; must be gs://BUCKET/DIRECTORY")
    try:
        return client().bucket(bucket), name.rstrip("/")
    except ValueError as error:
        raise UserError(f"{path}: not a bucket name ({_line(error)})") from error


def blob(path: str, generation: int | None = None) -> Any:
    """Return the object at `path`, of one generation or the newest."""
    bucket, name = bucket_and_name(path)
    return bucket.blob(name, generation=generation)


def call_options(retry_secs: float | None = None) -> dict[str, Any]:
    """Return the retry and timeout arguments for a call of the library."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    secs = RETRY_SECS if retry_secs is None else retry_secs
    retry = DEFAULT_RETRY.with_delay(initial=0.2, maximum=10.0, multiplier=2.0)
    return {
        "retry": retry.with_timeout(secs),
        "timeout": (min(_CONNECT_SECS, secs), min(_READ_SECS, secs)),
    }


def identity() -> str:
    """Return the account of the credentials, as far as known."""
    credentials = client()._credentials
    for name in ("service_account_email", "signer_email", "account"):
        who = getattr(credentials, name, "")
        if who == "default":
            return "the default service account of this machine"
        if who:
            return str(who)
    kind = type(credentials).__name__
    return "nobody (anonymous)" if kind == "AnonymousCredentials" else f"credentials ({kind})"


@contextlib.contextmanager
def translating_errors(path: str, act: str) -> Iterator[None]:
    """Replace the library's errors by ones that name the path, the account and the cause.

    Args:
        path: the object or directory.
        act: list, read, write or delete.
    """
    import requests
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

    try:
        yield
    except (
        GoogleAPIError,
        GoogleAuthError,
        InvalidResponse,
        DataCorruption,
        requests.RequestException,
        ConnectionError,
    ) as error:
        raise _translate(error, path, act) from error


def _translate(error: BaseException, path: str, act: str) -> GraftError:
    """Convert an error of the library to one that a user can act on."""
    from google.api_core.exceptions import RetryError
    from google.auth.exceptions import RefreshError, TransportError

    cause = error
    while isinstance(cause, (RetryError, TransportError)) and _below(cause) is not None:
        cause = _below(cause)  # type: ignore[assignment]
    code = getattr(cause, "code", None) or getattr(
        getattr(cause, "response", None), "status_code", None
    )
    text = str(cause)
    bucket = "gs://" + path.removeprefix("gs://").partition("/")[0]
    if isinstance(cause, RefreshError) or code == 401:
        if any(phrase in text for phrase in ("iat and exp", "clock", "time frame", "timeframe")):
            return UserError(
                f"{path}: this machine's clock is wrong, so its credentials are refused; set it "
                f"({_line(cause)})"
            )
        return UserError(
            f"{path}: the credentials of {identity()} are expired or revoked; renew them "
            f"({_line(cause)})"
        )
    if "certificate is not yet valid" in text:
        return UserError(f"{path}: this machine's clock is wrong; set it ({_line(cause)})")
    if code == 429 or (code == 403 and ("ateLimitExceeded" in text or "uotaExceeded" in text)):
        return UserError(
            f"{path}: the quota of {bucket} or of its project is used up; raise it, or write less "
            f"often ({_line(cause)})"
        )
    if code == 403:
        return UserError(
            f"{path}: {identity()} has no permission to {act}; it needs {_PERMISSIONS[act]} on "
            f"{bucket} ({_line(cause)})"
        )
    if code == 404:
        return UserError(f"{path}: not found; is there a bucket {bucket}? ({_line(cause)})")
    return StorageUnreachable(
        f"{path}: cannot be reached to {act}, asked as {identity()} ({_line(cause)}); "
        "published files are complete"
    )


def _below(error: BaseException) -> BaseException | None:
    inner = getattr(error, "cause", None) or next(iter(error.args[::-1]), None)
    return inner if isinstance(inner, BaseException) else error.__cause__


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"
