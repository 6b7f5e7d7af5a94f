"""RandAugment in graph: two operations of eleven, at one magnitude.

Source: Cubuk et al. 2020 (arXiv:1909.13719), with the ranges of AutoAugment (arXiv:1805.09501,
table 6) for the operations.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

_NUM_OPERATIONS = 2
_MAGNITUDE = 9 / 30
_GRAY = 0.5  # fills what lies beyond the edge

_Operation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def randaugment(image: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
    """Apply two random operations, one after the other.

    Args:
        image: float32 [h, w, 3] in [0, 1].
        seeds: int64 [2].

    Returns:
        float32 [h, w, 3] in [0, 1].
    """
    draws = tf.random.stateless_uniform([_NUM_OPERATIONS, 2], seeds)
    shape = image.shape
    for i in range(_NUM_OPERATIONS):
        operation = tf.cast(draws[i, 0] * len(OPERATIONS), tf.int32)
        signed = tf.where(draws[i, 1] < 0.5, -_MAGNITUDE, _MAGNITUDE)
        image = _apply(image, operation, signed)
    return tf.ensure_shape(image, shape)


def _apply(image: tf.Tensor, operation: tf.Tensor, signed: tf.Tensor) -> tf.Tensor:
    def branch(function: _Operation) -> Callable[[], tf.Tensor]:
        return lambda: tf.clip_by_value(function(image, signed), 0.0, 1.0)

    return tf.switch_case(operation, [branch(function) for function in OPERATIONS])


def _gray(image: tf.Tensor) -> tf.Tensor:
    return tf.tensordot(image, tf.constant([0.299, 0.587, 0.114]), 1)[..., None]


def contrast(image: tf.Tensor, signed: tf.Tensor) -> tf.Tensor:
    """Move away from or toward the mean brightness, by up to 0.9."""
    mean = tf.reduce_mean(_gray(image))
    return mean + (1 + 0.9 * signed) * (image - mean)


def brightness(image: tf.Tensor, signed: tf.Tensor) -> tf.Tensor:
    """Move away from or toward black, by up to 0.9."""
    return (1 + 0.9 * signed) * image


def color(image: tf.Tensor, signed: tf.Tensor) -> tf.Tensor:
    """Move away from or toward the gray version, by up to 0.9."""
    gray = _gray(image)
    return gray + (1 + 0.9 * signed) * (image - gray)


def sharpness(image: tf.Tensor, signed: tf.Tensor) -> tf.Tensor:
    """Move away from or toward a smoothed version, by up to 0.9."""
    weights = tf.constant([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    kernel = tf.tile(weights[:, :, None, None], [1, 1, 3, 1])
    padded = tf.pad(image, [[1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    smooth = tf.nn.depthwise_conv2d(padded[None], kernel, [1, 1, 1, 1], "VALID")[0]
    return smooth + (1 + 0.9 * signed) * (image - smooth)


def autocontrast(image: tf.Tensor, signed: tf.Tensor) -> tf.Tensor:
    """Stretch each channel to [0, 1]; leave a flat channel unchanged."""
    del signed
    low, high = tf.reduce_min(image, [0, 1]), tf.reduce_max(image, [0, 1])
    flat = high - low < 1 / 255
    return tf.where(flat, image, (image - low) / tf.where(flat, 1.0, high - low))


def equalize(image: tf.Tensor, signed: tf.Tensor) -> tf.Tensor:
    """Give each channel an even histogram of 256 levels."""
    del signed
    levels = tf.cast(tf.round(image * 255), tf.int32)

    def channel(values: tf.Tensor) -> tf.Tensor:
        counts = tf.math.bincount(tf.reshape(values, [-1]), minlength=256, maxlength=256)
        below = tf.cast(tf.cumsum(counts), tf.float32)
        first = tf.cast(tf.gather(counts, tf.reduce_min(values)), tf.float32)
        total = below[-1]
        table = tf.maximum((below - first) / tf.maximum(total - first, 1.0), 0.0)
        return tf.where(total > first, tf.gather(table, values), tf.cast(values, tf.float32) / 255)

    return tf.stack([channel(levels[..., i]) for i in range(3)], -1)


def posterize(image: tf.Tensor, signed: tf.Tensor) -> tf.Tensor:
    """Keep the upper bits of 8: all at magnitude 0, 4 at 1."""
    step = 2.0 ** tf.round(4 * tf.abs(signed))
    return tf.floor(tf.round(image * 255) / step) * step / 255


def solarize(image: tf.Tensor, signed: tf.Tensor) -> tf.Tensor:
    """Invert the values above a threshold: 1 at magnitude 0, 0 at 1."""
    return tf.where(image < 1 - tf.abs(signed), image, 1 - image)


def _project(image: tf.Tensor, matrix: list[tf.Tensor | float]) -> tf.Tensor:
    """Sample (x, y) from (a x + b y + c, d x + e y + f), given a to f, about the center."""
    a, b, c, d, e, f = (tf.convert_to_tensor(value, tf.float32) for value in matrix)
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    x, y = (size[1] - 1) / 2, (size[0] - 1) / 2
    rows = [a, b, c + x - a * x - b * y, d, e, f + y - d * x - e * y]
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        # Shifted so that the op fills with gray.
        images=image[None] - _GRAY,
        transforms=tf.stack([*rows, 0.0, 0.0])[None],
        output_shape=tf.shape(image)[:2],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return moved[0] + _GRAY


def rotate(image: tf.Tensor, signed: tf.Tensor) -> tf.Tensor:
    """Rotate by up to 30 degrees about the center."""
    angle = signed * (30 * 3.141592653589793 / 180)
    cos, sin = tf.cos(angle), tf.sin(angle)
    return _project(image, [cos, sin, 0.0, -sin, cos, 0.0])


def shear(image: tf.Tensor, signed: tf.Tensor) -> tf.Tensor:
    """Shear along the rows by up to 0.3."""
    return _project(image, [1.0, 0.3 * signed, 0.0, 0.0, 1.0, 0.0])


def translate(image: tf.Tensor, signed: tf.Tensor) -> tf.Tensor:
    """Translate along both axes by up to 0.3 of the size."""
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    return _project(image, [1.0, 0.0, 0.3 * signed * size[1], 0.0, 1.0, 0.3 * signed * size[0]])


OPERATIONS: tuple[_Operation, ...] = (
    contrast,
    brightness,
    color,
    sharpness,
    autocontrast,
    equalize,
    posterize,
    solarize,
    rotate,
    shear,
    translate,
)
