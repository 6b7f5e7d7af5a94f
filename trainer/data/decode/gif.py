"""Decode the first frame of a GIF in graph.

TensorFlow's decoder reads all frames of a GIF into memory before it returns one: 773 KB can take
3.2 GB (tensorflow#115498). So the file is cut after its first frame before it is decoded.

Source: GIF89a (CompuServe 1990), sections 17 to 24.
"""

from __future__ import annotations

import tensorflow as tf

from trainer.data.decode.header_checks import (
    bytes_at,
    number,
    refuse_giant,
    refuse_unless,
)
from trainer.data.decode.image_formats import on_canvas

_EXTENSION, _IMAGE, _GRAPHIC_CONTROL = 0x21, 0x2C, 0xF9
# States of the walk through the blocks.
_BETWEEN, _IN_EXTENSION, _IN_IMAGE, _DONE, _BROKEN = range(5)


def decode_gif(encoded: tf.Tensor) -> tf.Tensor:
    """Decode the first frame on its canvas to uint8 [h, w, 3]; transparent is white.

    Raises:
        InvalidArgumentError: too large (canvas or frame), truncated in the first frame, corrupt.
    """
    screen = bytes_at(encoded, 6, 7)
    width, height = number(screen[:2]), number(screen[2:4])
    encoded = refuse_giant(height, width, encoded)
    blocks_at = 13 + _palette_bytes(screen[4])
    image_at, end, transparent = _first_frame(encoded, blocks_at)
    encoded = refuse_unless(end > 0, "no complete frame in the GIF file", encoded)
    frame = bytes_at(encoded, image_at, 10)
    left, top, frame_width, frame_height = (number(frame[i : i + 2]) for i in (1, 3, 5, 7))
    encoded = refuse_giant(frame_height, frame_width, encoded)
    pixels_at = image_at + 10 + _palette_bytes(frame[9])
    still = tf.strings.join(
        [
            tf.strings.substr(encoded, 0, 6),
            tf.strings.substr(encoded, image_at + 5, 4),  # the frame covers the screen
            tf.strings.substr(encoded, 10, 3),
            _palette(encoded, 13, blocks_at - 13, transparent),
            tf.constant(bytes([_IMAGE, 0, 0, 0, 0])),
            tf.strings.substr(encoded, image_at + 5, 5),
            _palette(encoded, image_at + 10, pixels_at - image_at - 10, transparent),
            tf.strings.substr(encoded, pixels_at, end - pixels_at),
            b";",
        ]
    )
    image = tf.io.decode_gif(still)[0]
    return on_canvas(image, top, left, height, width)


def _palette_bytes(flags: tf.Tensor) -> tf.Tensor:
    """Return the bytes, int32 scalar, of the color table that these flags announce."""
    return tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2, flags % 8), 0)


def _palette(
    encoded: tf.Tensor, start: tf.Tensor | int, count: tf.Tensor, transparent: tf.Tensor
) -> tf.Tensor:
    """Return the color table's bytes with its transparent entry (-1: none) set to white."""
    table = tf.strings.substr(encoded, start, count)
    inside = (transparent >= 0) & (3 * transparent < count)
    before = tf.where(inside, 3 * transparent, 0)
    white = tf.strings.join(
        [
            tf.strings.substr(table, 0, before),
            b"\xff\xff\xff",
            tf.strings.substr(table, tf.minimum(before + 3, count), count),
        ]
    )
    return tf.where(inside, white, table)


def _first_frame(encoded: tf.Tensor, start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Walk the blocks from `start` to the end of the first image.

    Returns:
        int32 scalars: where the image's descriptor begins; where its data ends, 0 if nowhere; the
        index of the transparent color, -1 without one.
    """
    raw = tf.concat([tf.io.decode_raw(encoded, tf.uint8), tf.zeros([16], tf.uint8)], 0)
    length = tf.strings.length(encoded)

    def byte(at: tf.Tensor) -> tf.Tensor:
        return tf.cast(raw[tf.minimum(at, length)], tf.int32)

    def step(
        at: tf.Tensor, state: tf.Tensor, image_at: tf.Tensor, transparent: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        first = byte(at)
        between = tf.equal(state, _BETWEEN)
        extension, image = tf.equal(first, _EXTENSION), tf.equal(first, _IMAGE)
        flagged = tf.equal(byte(at + 1), _GRAPHIC_CONTROL) & tf.equal(byte(at + 3) % 2, 1)
        image_data = at + 10 + _palette_bytes(byte(at + 9)) + 1  # 1: the LZW code size
        opened = tf.where(extension, _IN_EXTENSION, tf.where(image, _IN_IMAGE, _BROKEN))
        closed = tf.where(tf.equal(state, _IN_IMAGE), _DONE, _BETWEEN)
        return (
            tf.where(between, tf.where(image, image_data, at + 2), at + 1 + first),
            tf.where(between, opened, tf.where(tf.equal(first, 0), closed, state)),
            tf.where(between & image, at, image_at),
            tf.where(between & extension & flagged, byte(at + 6), transparent),
        )

    zero = tf.constant(0)
    at, state, image_at, transparent = tf.while_loop(
        lambda at, state, *_: (state < _DONE) & (at < length),
        step,
        (start, zero, zero, zero - 1),
    )
    is_complete = tf.equal(state, _DONE) & (at <= length)
    return image_at, tf.where(is_complete, at, 0), transparent
