"""Read and check headers in graph, before memory is allocated for what they announce."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

# 134 million pixels, 400 MB as RGB: above any camera's, below what exhausts a machine.
MAX_PIXELS = 2**27


def noinline_function(function: Callable[..., tf.Tensor]) -> Any:
    """Return `function` as one node of the caller's graph.

    A branch not taken still costs the executor a visit to each of its nodes, and each start of
    an iterator their optimization: measured 0.1 ms an image and 0.7 s. So neither it nor what it
    calls is optimized, as tf.data's own functions are not: 0.4 s of an export's first call.
    """
    return tf.function(
        function,
        autograph=False,
        experimental_attributes={"_noinline": True, "_tf_data_function": True},
    )


def zero_if(condition: tf.Tensor, message: str | tf.Tensor) -> tf.Tensor:
    """Return int32 scalar 0; raise InvalidArgumentError with `message` where `condition` is false.

    The caller must add this zero to one of its numbers: only that orders it after the check, and an
    unused op is optimized away. Converting a message to a number fails statelessly. Assert and
    CheckNumerics are stateful, and under op determinism tf.data serializes a map with stateful ops.
    """
    return tf.strings.to_number(tf.where(condition, "0", message), tf.int32)


def refuse_unless(condition: tf.Tensor, message: str | tf.Tensor, encoded: tf.Tensor) -> tf.Tensor:
    """Return a copy of `encoded`, to be used from then on; see zero_if.

    Of two violated rules, the error names the one that `encoded` passed first.
    """
    length = tf.strings.length(encoded)
    return tf.strings.substr(encoded, zero_if(condition | (length < 0), message), length)


def zero_if_sane(height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Apply zero_if to a header's size: 0 < height × width <= MAX_PIXELS."""
    return zero_if(*_size_check(height, width))


def refuse_giant(height: tf.Tensor, width: tf.Tensor, encoded: tf.Tensor) -> tf.Tensor:
    """Apply refuse_unless to a header's size: 0 < height × width <= MAX_PIXELS."""
    return refuse_unless(*_size_check(height, width), encoded)


def _size_check(height: tf.Tensor, width: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return whether a size is allowed, and the message if not."""
    height, width = tf.cast(height, tf.int64), tf.cast(width, tf.int64)
    some = (height > 0) & (width > 0)
    message = tf.where(
        some,
        f"the header announces more than {MAX_PIXELS} pixels",
        "the header announces no pixels",
    )
    return some & (height * width <= MAX_PIXELS), message


def bytes_at(encoded: tf.Tensor, position: tf.Tensor | int, count: int) -> tf.Tensor:
    """Return the bytes from `position` on, int32 [count]; zeros beyond the string's end."""
    length = tf.strings.length(encoded)
    position = tf.minimum(tf.cast(position, tf.int64), tf.cast(length, tf.int64))
    window = tf.strings.substr(encoded, tf.cast(position, tf.int32), count)
    return tf.cast(tf.io.decode_raw(window, tf.uint8, fixed_length=count), tf.int32)


def number(digits: tf.Tensor, big_endian: bool = False) -> tf.Tensor:
    """Return the unsigned number, int64 scalar, of the bytes int32 [n], n <= 7."""
    count = digits.shape[0]
    weights = [256 ** (count - 1 - i if big_endian else i) for i in range(count)]
    return tf.reduce_sum(tf.cast(digits, tf.int64) * tf.constant(weights, tf.int64))
