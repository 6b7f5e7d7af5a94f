"""What TensorFlow's errors say, without where in its graph they say it."""

from __future__ import annotations

import re

import tensorflow as tf

from trainer.errors import GraftError, StorageUnreachable, UserError

_WHEREABOUTS = re.compile(r"Graph execution error|Detected at node|<stack traces|  File |\s*\[\[")
_PREFIXES = re.compile(
    r"StringToNumberOp could not correctly convert string: "
    r"|Error in user-defined function passed to \S+ transformation with iterator: \S+: "
)
_NODES = re.compile(r"\{\{[^}]*\}\} ?|\[Op:[^]]*\]( name: )?")


def reason(error: tf.errors.OpError) -> str:
    """The line of `error` that says what is wrong."""
    lines = [line for line in error.message.splitlines() if line.strip()]
    telling = [line for line in lines if not _WHEREABOUTS.match(line)]
    text = _PREFIXES.sub("", _NODES.sub("", (telling or lines or [""])[0]))
    return " ".join(text.split())


def is_of_a_peer(error: tf.errors.OpError) -> bool:
    """Whether `error` is what is seen of another worker that is gone."""
    kinds = tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError
    telling = "Collective ops is aborted", "unhealthy", "Connection reset", "heartbeat"
    return isinstance(error, kinds) or any(words in error.message for words in telling)


def peer(error: tf.errors.OpError) -> int | None:
    """Which worker `error` of a peer is about, where it says so."""
    found = re.search(r"/job:worker/(?:replica:\d+/)?task:(\d+)", error.message)
    return int(found[1]) if found else None


def of_the_machine(error: tf.errors.OpError) -> GraftError | None:
    """A file that is gone or closed to us, a full disk, a bucket that no longer answers."""
    if "retry attempts failed" in error.message:
        return StorageUnreachable(reason(error))
    kinds = tf.errors.NotFoundError, tf.errors.PermissionDeniedError, tf.errors.DataLossError
    if isinstance(error, kinds) or "No space left" in error.message:
        return UserError(reason(error))
    return None
