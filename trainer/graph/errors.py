"""Turn TensorFlow's errors into messages, without their graph locations."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf

from trainer.process.errors import GraftError, StorageUnreachable, UserError

_LOCATION = re.compile(r"Graph execution error|Detected at node|<stack traces|  File |\s*\[\[")
_PREFIXES = re.compile(
    r"StringToNumberOp could not correctly convert string: "
    r"|Error in user-defined function passed to \S+ transformation with iterator: \S+: "
)
_TOO_LARGE = re.compile(r"OOM when allocating tensor with shape(\[[\d,]*\])")
_NOT_DETERMINISTIC = re.compile("deterministic GPU implementation of", re.IGNORECASE)
_NODES = re.compile(r"\{\{[^}]*\}\} ?|\[Op:[^]]*\]( name: )?")


def reason(error: tf.errors.OpError) -> str:
    """Return the line of `error` that states the cause."""
    lines = [line for line in error.message.splitlines() if line.strip()]
    causes = [line for line in lines if not _LOCATION.match(line)]
    text = _PREFIXES.sub("", _NODES.sub("", (causes or lines or [""])[0]))
    return " ".join(text.split())


def is_peer_error(error: tf.errors.OpError) -> bool:
    """Whether `error` indicates that another worker exited."""
    kinds = tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError
    phrases = "Collective ops is aborted", "unhealthy", "Connection reset", "heartbeat"
    return isinstance(error, kinds) or any(phrase in error.message for phrase in phrases)


def peer(error: tf.errors.OpError) -> int | None:
    """Return the index of the worker that `error` names, if any."""
    found = re.search(r"/job:worker/(?:replica:\d+/)?task:(\d+)", error.message)
    return int(found[1]) if found else None


def machine_error(error: tf.errors.OpError) -> GraftError | None:
    """Return the cause of `error` outside the program, if any: a file, memory, bucket, kernel."""
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
def translating_errors() -> Iterator[None]:
    """Replace TensorFlow errors raised within by the `machine_error` behind them, if any."""
    try:
        yield
    except tf.errors.OpError as error:
        named = machine_error(error)
        if named is None:
            raise
        raise named from error
