"""What TensorFlow's errors say, without where in its graph they say it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf

from trainer.process.errors import GraftError, StorageUnreachable, UserError

_WHEREABOUTS = re.compile(r"Graph execution error|Detected at node|<stack traces|  File |\s*\[\[")
_PREFIXES = re.compile(
    r"StringToNumberOp could not correctly convert string: "
    r"|Error in user-defined function passed to \S+ transformation with iterator: \S+: "
)
_TOO_LARGE = re.compile(r"OOM when allocating tensor with shape(\[[\d,]*\])")
_NOT_DETERMINISTIC = re.compile("deterministic GPU implementation of", re.IGNORECASE)
_NODES = re.compile(r"\{\{[^}]*\}\} ?|\[Op:[^]]*\]( name: )?")


def reason(error: tf.errors.OpError) -> str:
    """The line of `error` that says what is wrong."""
    lines = [line for line in error.message.splitlines() if line.strip()]
    telling = [line for line in lines if not _WHEREABOUTS.match(line)]
    text = _PREFIXES.sub("", _NODES.sub("", (telling or lines or [""])[0]))
    return " ".join(text.split())


def is_peer_error(error: tf.errors.OpError) -> bool:
    """Whether `error` is what is seen of another worker that is gone."""
    kinds = tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError
    telling = "Collective ops is aborted", "unhealthy", "Connection reset", "heartbeat"
    return isinstance(error, kinds) or any(words in error.message for words in telling)


def peer(error: tf.errors.OpError) -> int | None:
    """Which worker `error` of a peer is about, where it says so."""
    found = re.search(r"/job:worker/(?:replica:\d+/)?task:(\d+)", error.message)
    return int(found[1]) if found else None


def machine_error(error: tf.errors.OpError) -> GraftError | None:
    """A file gone or closed to us, a full disk or memory, a silent bucket, a kernel not there."""
    if "retry attempts failed" in error.message:
        return StorageUnreachable(reason(error))
    if found := _TOO_LARGE.search(error.message):
        return UserError(
            f"not enough memory for a tensor of shape {found[1]} ({reason(error)}); ask for less, "
            "such as by --hidden_units or --global_batch_size, or take a larger machine"
        )
    if _NOT_DETERMINISTIC.search(error.message):
        return UserError(f"{reason(error)} --nodeterministic does without it.")
    kinds = (
        tf.errors.NotFoundError,
        tf.errors.PermissionDeniedError,
        tf.errors.DataLossError,
        tf.errors.ResourceExhaustedError,
    )
    if isinstance(error, kinds) or "No space left" in error.message:
        return UserError(reason(error))
    return None


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """TensorFlow's errors within become what a user can act on, where they are of_the_machine."""
    try:
        yield
    except tf.errors.OpError as error:
        named = machine_error(error)
        if named is None:
            raise
        raise named from error
