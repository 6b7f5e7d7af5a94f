"""Headers read and judged in graph, before anything that they announce is believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

# 134 million pixels, 400 MB as RGB: above any camera's, below what takes a machine down.
MAX_PIXELS = 2**27


def noinline_function(function: Callable[..., tf.Tensor]) -> Any:
    """`function` as one node of the caller's graph.

    A branch not taken still costs the executor a visit to each of its nodes, and each start of
    an iterator their optimisation: measured 0.1 ms an image and 0.7 s. So neither it nor what it
    calls is optimised, as tf.data's own functions are not: 0.4 s of an export's first call.
    """
    return tf.function(
        function,
        autograph=False,
        experimental_attributes={"_noinline": True, "_tf_data_function": True},
    )


def zero_if(condition: tf.Tensor, message: str | tf.Tensor) -> tf.Tensor:
    """int32 scalar 0; InvalidArgumentError with `message` where the bool scalar is false.

    What needs the check must add this zero to one of its numbers: that alone orders it after the
    check, and an op that nothing uses is optimised away. Converting a message to a number fails
    without state. Assert and CheckNumerics are stateful, and from a map with stateful ops tf.data
    takes the parallelism under op determinism.
    """
    return tf.strings.to_number(tf.where(condition, "0", message), tf.int32)


def refuse_unless(condition: tf.Tensor, message: str | tf.Tensor, encoded: tf.Tensor) -> tf.Tensor:
    """Returns `encoded`, a copy of it to be used from then on; see zero_if.

    Of two rules that are both broken, the one that `encoded` passed through first is named.
    """
    length = tf.strings.length(encoded)
    return tf.strings.substr(encoded, zero_if(condition | (length < 0), message), length)


def zero_if_sane(height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """zero_if for what a header announces: 0 < height × width <= MAX_PIXELS."""
    return zero_if(*_sane(height, width))


def refuse_giant(height: tf.Tensor, width: tf.Tensor, encoded: tf.Tensor) -> tf.Tensor:
    """refuse_unless for what a header announces: 0 < height × width <= MAX_PIXELS."""
    return refuse_unless(*_sane(height, width), encoded)


def _sane(height: tf.Tensor, width: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Whether it is, and what to say if not."""
    height, width = tf.cast(height, tf.int64), tf.cast(width, tf.int64)
    some = (height > 0) & (width > 0)
    message = tf.where(
        some,
        f"the header announces more than {MAX_PIXELS} pixels",
        "the header announces no pixels",
    )
    return some & (height * width <= MAX_PIXELS), message


def bytes_at(encoded: tf.Tensor, position: tf.Tensor | int, count: int) -> tf.Tensor:
    """int32 [count]: the bytes from `position` on; zeros where the string has ended."""
    length = tf.strings.length(encoded)
    position = tf.minimum(tf.cast(position, tf.int64), tf.cast(length, tf.int64))
    window = tf.strings.substr(encoded, tf.cast(position, tf.int32), count)
    return tf.cast(tf.io.decode_raw(window, tf.uint8, fixed_length=count), tf.int32)


def number(digits: tf.Tensor, big_endian: bool = False) -> tf.Tensor:
    """int64 scalar: the unsigned number that the bytes int32 [n] spell, n <= 7."""
    count = digits.shape[0]
    weights = [256 ** (count - 1 - i if big_endian else i) for i in range(count)]
    return tf.reduce_sum(tf.cast(digits, tf.int64) * tf.constant(weights, tf.int64))
