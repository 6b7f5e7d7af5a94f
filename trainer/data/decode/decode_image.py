"""Decode images to a model's input, in graph, by the same code in training and serving.

JPEG, PNG, GIF (first frame), BMP and WebP (first frame) are turned upright and composited on white.
No Python runs for an image, so a tf.data map and a SavedModel use the same function.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import sys
from typing import Any

import tensorflow as tf

from trainer.data.decode import exif, gif, header_checks, image_formats
from trainer.data.decode.exif import exif_orientation, is_plain_jpeg
from trainer.data.decode.gif import decode_gif
from trainer.data.decode.header_checks import (
    MAX_PIXELS,
    noinline_function,
    refuse_unless,
    zero_if_sane,
)
from trainer.data.decode.image_formats import (
    decode_bmp,
    decode_png,
    decode_webp,
    is_deep_png,
)
from trainer.graph import saved_graph
from trainer.graph.graph_cache import load_or_trace

__all__ = ["MAX_PIXELS", "decode_and_resize", "exif_orientation"]

# On a JPEG of 500×500 the fast method saves 2 % of the time and is off by one level in the mean;
# the accurate one gives the same pixels as Pillow and browsers.
_DCT_METHOD = "INTEGER_ACCURATE"
_RATIOS = (1, 2, 4, 8)


def decode_and_resize(
    encoded: tf.Tensor,
    image_size: tuple[int, int],
    window: tf.Tensor | None = None,
    webp: bool = True,
) -> tf.Tensor:
    """Decode, turn upright, crop and resize an image (bilinear; the aspect is not kept).

    A JPEG whose cropped area is at least 2, 4 or 8 times the target on both axes is decoded at
    that fraction of its size by the inverse DCT, which averages pixels that bilinear sampling
    would skip.

    Args:
        encoded: string scalar, the file's bytes.
        image_size: (height, width) of the result.
        window: float32 [4], (top, left, height, width) of the crop in the upright image as
            fractions of its size; the rest of a JPEG is not decoded. None takes the entire image.
        webp: whether WebP is one of the formats; TensorFlow 2.15 has no operation for it.

    Returns:
        float32 [height, width, 3], RGB in [0, 1].

    Raises:
        InvalidArgumentError: not an image of these formats, truncated, corrupt, or of more than
            MAX_PIXELS pixels by its header.
    """
    arguments = (encoded,) if window is None else (encoded, window)
    image = tf.cond(
        is_plain_jpeg(encoded),
        lambda: _decode_upright_jpeg(encoded, image_size, window),
        lambda: _any_decoder(image_size, window is not None, webp)(*arguments),
    )
    return tf.ensure_shape(image, [*image_size, 3])


# A graph that nothing has read for so long is of another version or size, and is removed.
_UNUSED_SECS = 30 * 24 * 60 * 60.0
# Prefix of the paths of the decoder's cached graphs; "": none is cached.
_cache_prefix = ""


def cache_graphs_in(directory: str) -> None:
    """Cache the graph that decodes anything but a plain JPEG in `directory`.

    Tracing it takes a second, reading it a twentieth of that.
    """
    global _cache_prefix
    modules = (sys.modules[__name__], exif, gif, header_checks, image_formats)
    try:
        sources = "".join(map(inspect.getsource, (saved_graph, *modules)))
    except OSError:  # installed without sources: a cached graph cannot be matched to them
        return
    digest = hashlib.sha256(f"{tf.__version__} {sources}".encode()).hexdigest()
    _cache_prefix = os.path.join(directory, f"decoder-{digest[:16]}")


@functools.lru_cache(maxsize=8)
def _any_decoder(image_size: tuple[int, int], has_window: bool, webp: bool) -> Any:
    """Return the function that decodes every format; one for all callers in the process."""

    def decode(encoded: tf.Tensor, window: tf.Tensor | None = None) -> tf.Tensor:
        return tf.cond(
            tf.equal(tf.strings.substr(encoded, 0, 3), b"\xff\xd8\xff"),
            lambda: _decode_turned_jpeg(encoded, image_size, window),
            lambda: _decode_other(encoded, image_size, window, webp),
        )

    specs = [tf.TensorSpec([], tf.string)] + [tf.TensorSpec([4], tf.float32)] * has_window
    with tf.init_scope(), tf.device(None):  # independent of the scope of the first call
        if not _cache_prefix:
            return noinline_function(decode).get_concrete_function(*specs)
        height, width = image_size
        graph, _ = load_or_trace(
            f"{_cache_prefix}-{height}x{width}{'-window' * has_window}{'-webp' * webp}",
            lambda: (
                saved_graph.SavedGraph.of(noinline_function(decode).get_concrete_function(*specs)),
                {},
            ),
            _UNUSED_SECS,
        )
        return noinline_function(graph.__call__).get_concrete_function(*specs)


@noinline_function
def _decode_other(
    encoded: tf.Tensor, image_size: tuple[int, int], window: tf.Tensor | None, webp: bool
) -> tf.Tensor:
    def finish(pixels: tf.Tensor) -> tf.Tensor:
        return _resize(_crop(pixels, window), image_size)

    def png() -> tf.Tensor:
        return tf.cond(
            is_deep_png(encoded),
            lambda: finish(decode_png(encoded, tf.uint16)),
            lambda: finish(decode_png(encoded)),
        )

    def unknown() -> tf.Tensor:
        empty = tf.equal(tf.strings.length(encoded), 0)
        names = f"not a JPEG, PNG, GIF{', BMP or WebP' if webp else ' or BMP'} image"
        what = tf.where(empty, "an empty file", names)
        refused = refuse_unless(tf.constant(False), what, encoded)
        return tf.zeros([*image_size, 3]) + tf.cast(tf.strings.length(refused), tf.float32)

    formats = (
        (b"\x89PNG\r\n\x1a\n", 0, png),
        (b"GIF8", 0, lambda: finish(decode_gif(encoded))),
        (b"BM", 0, lambda: finish(decode_bmp(encoded))),
        *([(b"WEBP", 8, lambda: finish(decode_webp(encoded)))] if webp else []),
    )
    index = tf.constant(len(formats))
    for i, (magic, at, _) in enumerate(formats):
        start = tf.strings.substr(encoded, tf.minimum(at, tf.strings.length(encoded)), len(magic))
        index = tf.where(tf.equal(start, magic), i, index)
    return tf.switch_case(
        index, [noinline_function(branch) for *_, branch in formats] + [noinline_function(unknown)]
    )


def _decode_turned_jpeg(
    encoded: tf.Tensor, image_size: tuple[int, int], window: tf.Tensor | None
) -> tf.Tensor:
    """Decode a JPEG whose EXIF may ask for another orientation than that of its pixels."""
    orientation = exif_orientation(encoded)
    turned = orientation >= 5  # rows of the file are columns of the upright image
    flip_y = tf.reduce_any(tf.equal(orientation, [3, 4, 7, 8]))
    flip_x = tf.reduce_any(tf.equal(orientation, [2, 3, 6, 7]))
    target = tf.constant(image_size)
    if image_size[0] != image_size[1]:
        target = tf.where(turned, target[::-1], target)
    if window is not None:
        top, left, height, width = tf.unstack(window)
        top = tf.where(flip_y, 1 - top - height, top)
        left = tf.where(flip_x, 1 - left - width, left)
        window = tf.stack([top, left, height, width])
        window = tf.where(turned, tf.gather(window, [1, 0, 3, 2]), window)
    # Turned after the resize, with fewer pixels: bilinear sampling is symmetric.
    image = _decode_upright_jpeg(encoded, target, window)
    return tf.cond(
        tf.equal(orientation, 1),
        lambda: image,
        lambda: _upright(image, turned, flip_y, flip_x),
    )


def _decode_upright_jpeg(
    encoded: tf.Tensor, target: tf.Tensor | tuple[int, int], window: tf.Tensor | None
) -> tf.Tensor:
    """Decode a JPEG's pixels as stored, crop them to `window` and resize them to `target`."""
    size = tf.io.extract_jpeg_shape(encoded)[:2]

    def decode(ratio: int) -> tf.Tensor:
        options = {"channels": 3, "ratio": ratio, "dct_method": _DCT_METHOD}
        if window is None:
            return tf.io.decode_jpeg(encoded, **options)
        # Decoding a crop does not detect a truncated file. Without an end marker at its end the
        # file is decoded uncropped, so that the crop does not decide whether it is broken.
        return tf.cond(
            tf.equal(tf.strings.substr(encoded, -2, 2), b"\xff\xd9"),
            lambda: tf.io.decode_and_crop_jpeg(
                encoded, _pixel_window(window, (size + ratio - 1) // ratio), **options
            ),
            lambda: _crop(tf.io.decode_jpeg(encoded, **options), window),
        )

    area = size if window is None else _pixel_window(window, size)[2:]
    excess = tf.reduce_min(area // target)
    index = tf.reduce_sum(tf.cast(excess >= tf.constant(_RATIOS[1:]), tf.int32))
    index += zero_if_sane(size[0], size[1])  # before the decoder allocates memory
    pixels = tf.switch_case(index, [lambda ratio=ratio: decode(ratio) for ratio in _RATIOS])
    return _resize(pixels, target)


@noinline_function
def _upright(
    image: tf.Tensor, turned: tf.Tensor, flip_y: tf.Tensor, flip_x: tf.Tensor
) -> tf.Tensor:
    image = tf.cond(turned, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    image = tf.cond(flip_y, lambda: tf.reverse(image, [0]), lambda: image)
    return tf.cond(flip_x, lambda: tf.reverse(image, [1]), lambda: image)


def _pixel_window(window: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Convert a window in fractions, float32 [4], to pixels, int32 [4], of a size int32 [2]."""
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


def _resize(pixels: tf.Tensor, size: tf.Tensor | tuple[int, int]) -> tf.Tensor:
    """Resize [h, w, 3] uint8 or uint16 to float32 [*size, 3] in [0, 1]."""
    # Straight from the integers: a float copy of the image costs as much as its decoding.
    resized = tf.raw_ops.ResizeBilinear(images=pixels[None], size=size, half_pixel_centers=True)
    # A product, since some graphs rewrite a quotient as one, which changes the last bit.
    return resized[0] * (1 / pixels.dtype.max)
