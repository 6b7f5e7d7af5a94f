"""GIF bytes to the pixels of the first frame, in graph.

The decoder at hand reads all frames of a GIF into memory before it returns one: 773 KB can take
3.2 GB (tensorflow#115498). So the file is cut after its first frame before the decoder sees it.

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
# What the walk through the blocks is in.
_BETWEEN, _IN_EXTENSION, _IN_IMAGE, _DONE, _BROKEN = range(5)


def decode_gif(encoded: tf.Tensor) -> tf.Tensor:
    """The first frame on its canvas, string scalar to uint8 [h, w, 3]; transparent is white.

    Raises:
        InvalidArgumentError: giant (canvas or frame), truncated within the first frame, corrupt.
    """
    screen = bytes_at(encoded, 6, 7)
    width, height = number(screen[:2]), number(screen[2:4])
    encoded = refuse_giant(height, width, encoded)
    blocks_at = 13 + _palette_bytes(screen[4])
    image_at, end, transparent = _first_frame(encoded, blocks_at)
    encoded = refuse_unless(end > 0, "no whole frame in the GIF file", encoded)
    frame = bytes_at(encoded, image_at, 10)
    left, top, frame_width, frame_height = (number(frame[i : i + 2]) for i in (1, 3, 5, 7))
    encoded = refuse_giant(frame_height, frame_width, encoded)
    pixels_at = image_at + 10 + _palette_bytes(frame[9])
    still = tf.strings.join(
        [
            tf.strings.substr(encoded, 0, 6),
            tf.strings.substr(encoded, image_at + 5, 4),  # the frame is the whole screen
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
    """int32 scalar: bytes of the colour table that these flags announce."""
    return tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2, flags % 8), 0)


def _palette(
    encoded: tf.Tensor, start: tf.Tensor | int, count: tf.Tensor, transparent: tf.Tensor
) -> tf.Tensor:
    """The colour table's bytes, its transparent entry (-1: none) painted white."""
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
    """Walks the blocks from `start` to the end of the first image.

    Returns:
        int32 scalars: where the image's descriptor begins; where its data ends, 0 where that is
        nowhere; the index of the transparent colour, -1 where there is none.
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
    whole = tf.equal(state, _DONE) & (at <= length)
    return image_at, tf.where(whole, at, 0), transparent
