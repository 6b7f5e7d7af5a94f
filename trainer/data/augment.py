"""Augment images as a pure, stateless function of (seed, epoch, example).

An example of an epoch looks the same on any worker, at any position of a batch and after any
restart.

Sources: random resized crop, Szegedy et al. 2015 (arXiv:1409.4842, section 6); RandAugment, Cubuk
et al. 2020 (arXiv:1909.13719); mixup, Zhang et al. 2018 (arXiv:1710.09412); CutMix, Yun et al.
2019 (arXiv:1905.04899).
"""

from __future__ import annotations

import math

import tensorflow as tf

from trainer.data.randaugment import randaugment

# The smallest crop. ImageNet's usual 0.08 would leave nothing of a small lesion.
_SMALLEST_AREA = 0.35
_LOG_ASPECT = math.log(4 / 3)

# Distinct, so that no two uses of an example's seed draw the same numbers.
_CROP, _FLIP, _RAND, _MIX = range(4)


def example_seed(seed: int | tf.Tensor, epoch: int | tf.Tensor, example_id: tf.Tensor) -> tf.Tensor:
    """Return the seed, int64 [2], of one example in one epoch."""
    bucket = tf.strings.to_hash_bucket_fast(example_id, 2**31 - 1)
    # Multiplied by an odd constant (2**64 over the golden ratio) so that neighbors lie apart.
    mixed = tf.cast(seed, tf.int64) * -7046029254386353131 + tf.cast(epoch, tf.int64)
    return tf.stack([mixed, bucket])


def crop_window(policy: str, seeds: tf.Tensor) -> tf.Tensor | None:
    """Draw the part of an image to decode, before the image is decoded.

    Its area is in [0.35, 1] of the image and its aspect in [3/4, 4/3] of the image's own, which
    bounds the distortion added to that of the resize.

    Args:
        policy: "none", "light" or "randaugment".
        seeds: int64 [2], from example_seed.

    Returns:
        float32 [4], (top, left, height, width) as fractions of the image; None for "none".
    """
    if policy == "none":
        return None
    draws = tf.random.stateless_uniform([4], _branch(seeds, _CROP))
    area = _SMALLEST_AREA + (1 - _SMALLEST_AREA) * draws[0]
    stretch = tf.exp(_LOG_ASPECT * (2 * draws[1] - 1))
    # Clipped to the image rather than drawn again: no loop, and the area keeps its lower bound.
    height = tf.minimum(tf.sqrt(area * stretch), 1.0)
    width = tf.minimum(tf.sqrt(area / stretch), 1.0)
    return tf.stack([draws[2] * (1 - height), draws[3] * (1 - width), height, width])


def augment(image: tf.Tensor, policy: str, seeds: tf.Tensor) -> tf.Tensor:
    """Apply a policy to an image that is already cropped.

    Args:
        image: float32 [h, w, 3] in [0, 1].
        policy: "none"; "light": flipped with probability 1/2; "randaugment": that, and two random
            operations of magnitude 9 of 30.
        seeds: int64 [2], from example_seed.

    Returns:
        float32 [h, w, 3] in [0, 1].
    """
    if policy == "none":
        return image
    flip = tf.random.stateless_uniform([], _branch(seeds, _FLIP)) < 0.5
    image = tf.cond(flip, lambda: tf.reverse(image, [1]), lambda: image)
    if policy == "randaugment":
        image = randaugment(image, _branch(seeds, _RAND))
    return image


def mix(
    images: tf.Tensor,
    labels: tf.Tensor,
    block: int,
    mixup_alpha: float,
    cutmix_alpha: float,
    seeds: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mix each example with the one before it in its block, by MixUp or CutMix.

    Partners share a block, so the result does not depend on the number of workers. With both
    alphas set, each block draws one of the two methods. A block of one is not mixed.

    Args:
        images: float32 [batch, h, w, 3].
        labels: float32 [batch, classes], one-hot or smoothed.
        block: examples a block; divides the batch.
        mixup_alpha: a block's mixing weight is drawn from Beta(alpha, alpha); 0 is off.
        cutmix_alpha: the same, for the area that is kept.
        seeds: int64 [batch / block, 2], one example_seed a block.

    Returns:
        images and labels of the same shapes.
    """
    if block == 1 or not (mixup_alpha or cutmix_alpha):
        return images, labels
    height, width = images.shape[1], images.shape[2]
    seeds = tf.map_fn(lambda pair: _branch(pair, _MIX), seeds)
    kept, weight = tf.map_fn(
        lambda pair: _mixing_weights(pair, mixup_alpha, cutmix_alpha, height, width),
        seeds,
        fn_output_signature=(
            tf.TensorSpec([height, width], tf.float32),
            tf.TensorSpec([], tf.float32),
        ),
    )
    image_blocks = tf.reshape(images, [-1, block, height, width, 3])
    label_blocks = tf.reshape(labels, [-1, block, labels.shape[1]])
    mask = kept[:, None, :, :, None]
    weight = weight[:, None, None]
    image_blocks = mask * image_blocks + (1 - mask) * tf.roll(image_blocks, 1, axis=1)
    label_blocks = weight * label_blocks + (1 - weight) * tf.roll(label_blocks, 1, axis=1)
    return (
        tf.reshape(image_blocks, [-1, height, width, 3]),
        tf.reshape(label_blocks, [-1, labels.shape[1]]),
    )


def _mixing_weights(
    seeds: tf.Tensor, mixup_alpha: float, cutmix_alpha: float, height: int, width: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draw a block's weights of its own pixels, float32 [height, width], and label, a scalar."""

    def mixup() -> tuple[tf.Tensor, tf.Tensor]:
        kept = _beta(_branch(seeds, 0), mixup_alpha)
        return tf.fill([height, width], kept), kept

    def cutmix() -> tuple[tf.Tensor, tf.Tensor]:
        side = tf.sqrt(1 - _beta(_branch(seeds, 1), cutmix_alpha))
        center = tf.random.stateless_uniform([2], _branch(seeds, 2))
        extent = tf.constant([height, width], tf.float32)
        start = tf.round(tf.clip_by_value(center - side / 2, 0, 1) * extent)
        end = tf.round(tf.clip_by_value(center + side / 2, 0, 1) * extent)
        rows, columns = tf.range(height, dtype=tf.float32), tf.range(width, dtype=tf.float32)
        pasted_rows = tf.cast((rows >= start[0]) & (rows < end[0]), tf.float32)
        pasted_columns = tf.cast((columns >= start[1]) & (columns < end[1]), tf.float32)
        kept = 1 - pasted_rows[:, None] * pasted_columns[None, :]
        # The mean of the box after clipping: labels follow the pixels exactly.
        return kept, tf.reduce_mean(kept)

    if not cutmix_alpha:
        return mixup()
    if not mixup_alpha:
        return cutmix()
    choice = tf.random.stateless_uniform([], _branch(seeds, 3))
    return tf.cond(choice < 0.5, mixup, cutmix)


def _beta(seeds: tf.Tensor, alpha: float) -> tf.Tensor:
    """Draw a float32 scalar from Beta(alpha, alpha), by two gammas."""
    gammas = tf.random.stateless_gamma([2], seeds, alpha)
    # Small alphas can draw two zeros; 0 and 1 are then equally likely, and this returns 0.
    return tf.math.divide_no_nan(gammas[0], gammas[0] + gammas[1])


def _branch(seeds: tf.Tensor, use: int) -> tf.Tensor:
    """Derive the seed of one use, int64 [2], from `seeds`, int64 [2]."""
    return tf.cast(tf.random.experimental.stateless_fold_in(seeds, use), tf.int64)
