"""Encoded images to what a model takes, in graph: one code for training, serving and the rest.

JPEG, PNG, GIF (first frame), BMP and WebP (first frame) come out upright and composited on white.
No Python runs per image, so the same function lives in a tf.data map and in a SavedModel.

Sources: JPEG (ITU-T T.81, annex B), EXIF orientation (CIPA DC-008, 4.6.4 A and 4.7.2; TIFF 6.0
section 2).
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from trainer.data.gif import decode_gif
from trainer.data.image_formats import (
    MAX_PIXELS,
    bytes_at,
    decode_bmp,
    decode_png,
    decode_webp,
    is_deep_png,
    number,
    refuse_giant,
    refuse_unless,
)

__all__ = ["MAX_PIXELS", "decode_and_resize", "exif_orientation"]

# On a JPEG of 500×500 the fast method saves 2 % of the time and is off by one level in the mean;
# the accurate one gives the pixels that Pillow and the browsers give.
_DCT_METHOD = "INTEGER_ACCURATE"
_RATIOS = (1, 2, 4, 8)


def _rarely(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """`function` as one node of the caller's graph.

    A branch not taken still costs the executor a visit to each of its nodes, and each start of
    an iterator their optimisation: measured 0.1 ms an image and 0.7 s.
    """
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


def decode_and_resize(
    encoded: tf.Tensor, image_size: tuple[int, int], window: tf.Tensor | None = None
) -> tf.Tensor:
    """Decodes, turns upright, crops and resizes (bilinear, the aspect is not kept) an image.

    A JPEG whose cropped area is at least 2, 4 or 8 times the target on both axes is decoded at
    that fraction of its size by the inverse DCT, which also averages where bilinear sampling
    would skip pixels.

    Args:
        encoded: string scalar, the file's bytes.
        image_size: (height, width) of the result.
        window: float32 [4], (top, left, height, width) of the crop in the upright image as
            fractions of its size; a JPEG's other parts are not decoded. None takes the image.

    Returns:
        float32 [height, width, 3], RGB in [0, 1].

    Raises:
        InvalidArgumentError: no image of these formats, truncated, corrupt, or with a header
            that announces more than MAX_PIXELS pixels.
    """
    is_jpeg = tf.equal(tf.strings.substr(encoded, 0, 3), b"\xff\xd8\xff")
    image = tf.cond(
        is_jpeg,
        lambda: _decode_jpeg(encoded, image_size, window),
        lambda: _decode_other(encoded, image_size, window),
    )
    return tf.ensure_shape(image, [*image_size, 3])


@_rarely
def _decode_other(
    encoded: tf.Tensor, image_size: tuple[int, int], window: tf.Tensor | None
) -> tf.Tensor:
    def finish(pixels: tf.Tensor) -> tf.Tensor:
        return _resize(_crop(pixels, window), tf.constant(image_size))

    def png() -> tf.Tensor:
        return tf.cond(
            is_deep_png(encoded),
            lambda: finish(decode_png(encoded, tf.uint16)),
            lambda: finish(decode_png(encoded)),
        )

    def unknown() -> tf.Tensor:
        empty = tf.equal(tf.strings.length(encoded), 0)
        what = tf.where(empty, "an empty file", "not a JPEG, PNG, GIF, BMP or WebP image")
        refused = refuse_unless(tf.constant(False), what, encoded)
        return tf.zeros([*image_size, 3]) + tf.cast(tf.strings.length(refused), tf.float32)

    formats = (
        (b"\x89PNG\r\n\x1a\n", 0, png),
        (b"GIF8", 0, lambda: finish(decode_gif(encoded))),
        (b"BM", 0, lambda: finish(decode_bmp(encoded))),
        (b"WEBP", 8, lambda: finish(decode_webp(encoded))),
    )
    index = tf.constant(len(formats))
    for i, (magic, at, _) in enumerate(formats):
        start = tf.strings.substr(encoded, tf.minimum(at, tf.strings.length(encoded)), len(magic))
        index = tf.where(tf.equal(start, magic), i, index)
    return tf.switch_case(index, [_rarely(branch) for *_, branch in formats] + [_rarely(unknown)])


def exif_orientation(encoded: tf.Tensor) -> tf.Tensor:
    """How a JPEG, string scalar, must be turned: int32 scalar in 1..8; 1 without (sound) EXIF."""
    # Almost every file without EXIF is a JFIF header of 16 bytes and then a table.
    table_at = tf.minimum(20, tf.strings.length(encoded))
    plain = tf.equal(tf.strings.substr(encoded, 2, 4), b"\xff\xe0\x00\x10")
    plain &= tf.equal(tf.strings.substr(encoded, table_at, 2), b"\xff\xdb")
    return tf.cond(plain, lambda: tf.constant(1), lambda: _search_exif(encoded))


@_rarely
def _search_exif(encoded: tf.Tensor) -> tf.Tensor:
    def after(at: tf.Tensor) -> tf.Tensor:
        return at + 2 + tf.cast(number(bytes_at(encoded, at + 2, 2), big_endian=True), tf.int32)

    def may_precede_exif(at: tf.Tensor) -> tf.Tensor:
        kind = bytes_at(encoded, at, 2)
        application = (kind[1] >= 0xE0) & (kind[1] <= 0xEF)
        return tf.equal(kind[0], 0xFF) & (application | tf.equal(kind[1], 0xFE))

    def is_exif(at: tf.Tensor) -> tf.Tensor:
        at = tf.minimum(at + 4, tf.strings.length(encoded))
        return tf.equal(tf.strings.substr(encoded, at, 6), b"Exif\0\0")

    (at,) = tf.while_loop(
        lambda at: may_precede_exif(at) & ~is_exif(at), lambda at: (after(at),), (tf.constant(2),)
    )
    return tf.cond(
        may_precede_exif(at),
        lambda: _tiff_orientation(tf.strings.substr(encoded, at + 10, after(at) - at - 10)),
        lambda: tf.constant(1),
    )


def _tiff_orientation(tiff: tf.Tensor) -> tf.Tensor:
    """The orientation, int32 scalar, in the first directory of a TIFF structure, or 1."""
    swapped = tf.equal(tf.strings.substr(tiff, 0, 2), b"MM")

    def read(digits: tf.Tensor) -> tf.Tensor:
        return tf.where(swapped, number(digits, big_endian=True), number(digits))

    directory = read(bytes_at(tiff, 4, 4))
    length = tf.cast(tf.strings.length(tiff), tf.int64)
    start = tf.minimum(directory + 2, length)
    count = tf.minimum(read(bytes_at(tiff, directory, 2)), (length - start) // 12)
    raw = tf.io.decode_raw(tf.strings.substr(tiff, start, 12 * count), tf.uint8)
    entries = tf.cast(tf.reshape(raw, [-1, 12]), tf.int32)
    # 0x0112 is the tag, 3 its type (16 bits), and the value is in place.
    shorts = tf.where(
        swapped, entries[:, ::2] * 256 + entries[:, 1::2], entries[:, ::2] + entries[:, 1::2] * 256
    )
    wanted = tf.equal(shorts[:, 0], 0x0112) & tf.equal(shorts[:, 1], 3)
    value = tf.reduce_max(tf.where(wanted, shorts[:, 4], 0))
    return tf.where((value >= 1) & (value <= 8), value, 1)


def _decode_jpeg(
    encoded: tf.Tensor, image_size: tuple[int, int], window: tf.Tensor | None
) -> tf.Tensor:
    size = tf.io.extract_jpeg_shape(encoded)[:2]
    encoded = refuse_giant(size[0], size[1], encoded)
    orientation = exif_orientation(encoded)
    turned = orientation >= 5  # rows of the file are columns of the upright image
    flip_y = tf.reduce_any(tf.equal(orientation, [3, 4, 7, 8]))
    flip_x = tf.reduce_any(tf.equal(orientation, [2, 3, 6, 7]))
    target = tf.constant(image_size)
    if image_size[0] != image_size[1]:
        target = tf.where(turned, target[::-1], target)

    stored_window = tf.constant([0.0, 0.0, 1.0, 1.0])
    if window is not None:
        top, left, height, width = tf.unstack(window)
        top = tf.where(flip_y, 1 - top - height, top)
        left = tf.where(flip_x, 1 - left - width, left)
        stored_window = tf.stack([top, left, height, width])
        stored_window = tf.where(turned, tf.gather(stored_window, [1, 0, 3, 2]), stored_window)

    def decode(ratio: int) -> tf.Tensor:
        options = {"channels": 3, "ratio": ratio, "dct_method": _DCT_METHOD}
        if window is None:
            return tf.io.decode_jpeg(encoded, **options)
        # Decoding a part does not notice that the file ends early. A file without an end marker
        # at its end is decoded whole, so that it is good or bad whatever the crop.
        return tf.cond(
            tf.equal(tf.strings.substr(encoded, -2, 2), b"\xff\xd9"),
            lambda: tf.io.decode_and_crop_jpeg(
                encoded, _pixel_window(stored_window, (size + ratio - 1) // ratio), **options
            ),
            lambda: _crop(tf.io.decode_jpeg(encoded, **options), stored_window),
        )

    area = _pixel_window(stored_window, size)[2:]
    excess = tf.reduce_min(area // target)
    index = tf.reduce_sum(tf.cast(excess >= tf.constant(_RATIOS[1:]), tf.int32))
    pixels = tf.switch_case(index, [lambda ratio=ratio: decode(ratio) for ratio in _RATIOS])
    image = _resize(pixels, target)

    # Turned after the resize: the fewest pixels, and bilinear sampling is symmetric.
    return tf.cond(
        tf.equal(orientation, 1),
        lambda: image,
        lambda: _upright(image, turned, flip_y, flip_x),
    )


@_rarely
def _upright(
    image: tf.Tensor, turned: tf.Tensor, flip_y: tf.Tensor, flip_x: tf.Tensor
) -> tf.Tensor:
    image = tf.cond(turned, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    image = tf.cond(flip_y, lambda: tf.reverse(image, [0]), lambda: image)
    return tf.cond(flip_x, lambda: tf.reverse(image, [1]), lambda: image)


def _pixel_window(window: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """A window in fractions, float32 [4], of an image int32 [2], in whole pixels: int32 [4]."""
    extent = tf.cast(size, tf.float32)
    start = tf.cast(tf.round(window[:2] * extent), tf.int32)
    start = tf.clip_by_value(start, 0, size - 1)
    end = tf.cast(tf.round((window[:2] + window[2:]) * extent), tf.int32)
    end = tf.clip_by_value(end, start + 1, size)
    return tf.concat([start, end - start], 0)


def _crop(pixels: tf.Tensor, window: tf.Tensor | None) -> tf.Tensor:
    if window is None:
        return pixels
    top, left, height, width = tf.unstack(_pixel_window(window, tf.shape(pixels)[:2]))
    return pixels[top : top + height, left : left + width]


def _resize(pixels: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """[h, w, 3] uint8 or uint16 to float32 [*size, 3] in [0, 1]."""
    # Straight from the integers: a float copy of the whole image costs as much as its decoding.
    resized = tf.raw_ops.ResizeBilinear(images=pixels[None], size=size, half_pixel_centers=True)
    # A product: a quotient is rewritten as one in some graphs, and the last bit would depend on it.
    return resized[0] * (1 / pixels.dtype.max)
