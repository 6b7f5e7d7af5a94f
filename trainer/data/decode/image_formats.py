"""Decode PNG, BMP and WebP in graph, after a check of the header.

TensorFlow's decoders allocate what a header announces, decode all frames of an animation to return
the first, and differ in transparency and palettes. These functions read the few header bytes: an
image that is too large is refused before anything is allocated, only one frame is decoded, and
transparent is white.

Sources: PNG (W3C, third edition, 11.2.1 IHDR), GIF89a (CompuServe 1990, sections 17-24), WebP
(RFC 9649, section 2), BMP (Microsoft's BITMAPINFOHEADER and BITMAPV4HEADER).
"""

from __future__ import annotations

import tensorflow as tf

from trainer.data.decode.header_checks import (
    bytes_at,
    number,
    refuse_giant,
    refuse_unless,
)


def on_white(rgba: tf.Tensor) -> tf.Tensor:
    """Composite [h, w, 4] uint8 or uint16 on white: [h, w, 3] of the same type."""

    def composite() -> tf.Tensor:
        values = tf.cast(rgba, tf.float32)
        opacity = values[..., 3:] / rgba.dtype.max
        mixed = values[..., :3] * opacity + (1 - opacity) * rgba.dtype.max
        return tf.cast(tf.round(mixed), rgba.dtype)

    # Most images with an alpha channel make no use of it.
    opaque = tf.reduce_all(tf.equal(rgba[..., 3], rgba.dtype.max))
    return tf.cond(opaque, lambda: rgba[..., :3], composite)


def on_canvas(
    frame: tf.Tensor, top: tf.Tensor, left: tf.Tensor, height: tf.Tensor, width: tf.Tensor
) -> tf.Tensor:
    """Pad or crop uint8 [h, w, 3] to a white canvas [height, width, 3]."""
    top, left, height, width = (tf.cast(x, tf.int32) for x in (top, left, height, width))
    below = tf.maximum(height - top - tf.shape(frame)[0], 0)
    beside = tf.maximum(width - left - tf.shape(frame)[1], 0)
    padded = tf.pad(frame, [[top, below], [left, beside], [0, 0]], constant_values=255)
    return padded[:height, :width]


def is_deep_png(encoded: tf.Tensor) -> tf.Tensor:
    """Return, as a bool scalar, whether a PNG has 16 bits a channel, by its IHDR chunk."""
    return tf.equal(bytes_at(encoded, 24, 1)[0], 16)


def decode_png(encoded: tf.Tensor, dtype: tf.DType = tf.uint8) -> tf.Tensor:
    """Decode a PNG of any kind to [h, w, 3] uint8 or uint16.

    Raises:
        InvalidArgumentError: too large, truncated or corrupt.
    """
    header = bytes_at(encoded, 16, 10)
    encoded = refuse_giant(number(header[4:8], True), number(header[:4], True), encoded)
    # For a missing alpha of pixels of 1, 2 or 4 bits TensorFlow fills in 1, 3 or 15 instead of 255,
    # so such files are decoded with their own channels.
    return tf.cond(
        header[8] < 8,
        lambda: _narrow_png(encoded, dtype),
        lambda: on_white(tf.io.decode_png(encoded, channels=4, dtype=dtype)),
    )


def _narrow_png(encoded: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    image = tf.io.decode_png(encoded, channels=0, dtype=dtype)
    return tf.cond(
        tf.equal(tf.shape(image)[2], 4),
        lambda: on_white(image[..., :4]),
        lambda: tf.broadcast_to(image, tf.concat([tf.shape(image)[:2], [3]], 0)),
    )


def decode_bmp(encoded: tf.Tensor) -> tf.Tensor:
    """Decode a BMP of 8 (palette), 24 or 32 bits a pixel to uint8 [h, w, 3].

    Raises:
        InvalidArgumentError: too large, truncated, compressed, or of 1, 4 or 16 bits a pixel, which
            TensorFlow cannot decode.
    """
    header = bytes_at(encoded, 14, 56)
    header_size, width, height = number(header[:4]), number(header[4:8]), number(header[8:12])
    # Heights are signed; a negative one means "top row first".
    height = tf.where(height < 2**31, height, 2**32 - height)
    bits, compression = number(header[14:16]), number(header[16:20])
    # Bit fields (3) may be any; in practice they are blue, green, red, alpha.
    usual_fields = tf.reduce_all(tf.equal(header[40:48], [0, 0, 255, 0, 0, 255, 0, 0]))
    known = (header_size >= 40) & tf.reduce_any(tf.equal(bits, [8, 24, 32]))
    known &= tf.equal(compression, 0) | (
        tf.equal(compression, 3) & tf.equal(bits, 32) & usual_fields
    )
    encoded = refuse_unless(
        known, "a BMP that is compressed or not of 8, 24 or 32 bits; save it as PNG", encoded
    )
    encoded = refuse_giant(height, width, encoded)

    def with_palette() -> tf.Tensor:
        start = 14 + header_size
        palette = tf.reshape(bytes_at(encoded, start, 1024), [256, 4])[:, 2::-1]
        indices = tf.io.decode_bmp(encoded, channels=0)[..., 0]
        return tf.cast(tf.gather(palette, tf.cast(indices, tf.int32)), tf.uint8)

    # The fourth byte of a pixel is alpha only where a mask defines it; else it is often zero.
    has_alpha = tf.equal(compression, 3) & (header_size >= 56) & (number(header[52:56]) > 0)
    return tf.cond(
        tf.equal(bits, 8),
        with_palette,
        lambda: tf.cond(
            has_alpha,
            lambda: on_white(tf.io.decode_bmp(encoded, channels=4)),
            lambda: tf.io.decode_bmp(encoded, channels=3),
        ),
    )


def _webp_size(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return (height, width), int64 scalars, from the first chunk of a WebP file."""
    header = bytes_at(encoded, 20, 10)
    kind = tf.strings.substr(encoded, 12, 4)
    packed = number(header[1:5])  # VP8L, after the signature: 14 bits each, less one
    lossless = tf.stack([packed // 2**14 % 2**14 + 1, packed % 2**14 + 1])
    lossy = tf.stack([number(header[8:10]) % 2**14, number(header[6:8]) % 2**14])
    canvas = tf.stack([number(header[7:10]) + 1, number(header[4:7]) + 1])
    size = tf.where(tf.equal(kind, b"VP8L"), lossless, lossy)
    size = tf.where(tf.equal(kind, b"VP8X"), canvas, size)
    return size[0], size[1]


def _still_webp(encoded: tf.Tensor) -> tf.Tensor:
    image = tf.raw_ops.DecodeWebP(contents=encoded, channels=0)[0]
    return tf.cond(
        tf.equal(tf.shape(image)[-1], 4),
        lambda: on_white(image[..., :4]),
        lambda: image[..., :3],
    )


def _little_endian(values: list[tf.Tensor], widths: list[int]) -> tf.Tensor:
    """Encode each number in its width of little-endian bytes, as a string scalar."""
    table = tf.constant([bytes([i]) for i in range(256)])
    digits = [
        tf.cast(tf.cast(value, tf.int64) // 256**i % 256, tf.int32)
        for value, width in zip(values, widths, strict=True)
        for i in range(width)
    ]
    return tf.strings.reduce_join(tf.gather(table, tf.stack(digits)))


def _first_webp_frame(encoded: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Decode an animation's first frame on its canvas, as a still file: uint8 [h, w, 3]."""
    end = tf.cast(tf.strings.length(encoded), tf.int64)

    def name_at(position: tf.Tensor) -> tf.Tensor:
        return tf.strings.substr(encoded, tf.cast(tf.minimum(position, end), tf.int32), 4)

    def length_at(position: tf.Tensor) -> tf.Tensor:
        return number(bytes_at(encoded, position + 4, 4))

    (at,) = tf.while_loop(
        lambda at: tf.not_equal(name_at(at), b"ANMF") & (at < end),
        lambda at: (at + 8 + (length_at(at) + 1) // 2 * 2,),
        (tf.constant(12, tf.int64),),
    )
    length = length_at(at)
    encoded = refuse_unless(at + 8 + length <= end, "no complete frame in the WebP file", encoded)
    frame = bytes_at(encoded, at + 8, 12)
    left, top = 2 * number(frame[:3]), 2 * number(frame[3:6])
    frame_width, frame_height = number(frame[6:9]) + 1, number(frame[9:12]) + 1
    inside = (left + frame_width <= width) & (top + frame_height <= height) & (length > 16)
    encoded = refuse_unless(inside, "a WebP frame exceeds its canvas", encoded)
    data = tf.strings.substr(encoded, tf.cast(at + 24, tf.int32), tf.cast(length - 16, tf.int32))
    has_alpha = 16  # of the flags in a VP8X chunk
    still = [
        b"RIFF",
        _little_endian([4 + 18 + length - 16], [4]),
        b"WEBPVP8X",
        _little_endian([10, has_alpha, frame_width - 1, frame_height - 1], [4, 4, 3, 3]),
        data,
    ]
    return on_canvas(_still_webp(tf.strings.join(still)), top, left, height, width)


def decode_webp(encoded: tf.Tensor) -> tf.Tensor:
    """Decode a WebP, lossy, lossless or animated (first frame), to uint8 [h, w, 3].

    Raises:
        InvalidArgumentError: too large, truncated or corrupt.
    """
    height, width = _webp_size(encoded)
    encoded = refuse_giant(height, width, encoded)
    extended = tf.equal(tf.strings.substr(encoded, 12, 4), b"VP8X")
    animated = extended & tf.equal(bytes_at(encoded, 20, 1)[0] // 2 % 2, 1)
    return tf.cond(
        animated,
        lambda: _first_webp_frame(encoded, height, width),
        lambda: _still_webp(encoded),
    )
