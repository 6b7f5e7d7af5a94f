"""Small real things to test with: images in folders, and a backbone of a few hundred numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

COLORS = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (200, 50, 40)}


def write_images(root: Path, counts: Mapping[str, int], size: int = 48, seed: int = 0) -> None:
    """Write `counts[label]` noisy PNGs of one colour each under root/<label>/; easy to tell apart."""
    rng = np.random.default_rng(seed)
    for label, count in counts.items():
        directory = root / label
        directory.mkdir(parents=True, exist_ok=True)
        color = COLORS.get(label, (128, 128, 128))
        for i in range(count):
            pixels = np.clip(rng.normal(color, 60, (size, size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(directory / f"{i:03d}.png")


def write_folder(root: Path, train: int = 24, validation: int = 8) -> Path:
    """An image folder with split directories and the classes of COLORS."""
    write_images(root / "train", {label: train for label in COLORS}, seed=1)
    write_images(root / "validation", {label: validation for label in COLORS}, seed=2)
    return root


def write_backbone(directory: Path, size: int = 32) -> Path:
    """A reusable SavedModel: convolution, batch normalisation, average pool; 8 features."""
    import tensorflow as tf
    import tf_keras

    network = tf_keras.Sequential(
        [
            tf_keras.layers.Conv2D(
                8,
                3,
                strides=2,
                input_shape=(size, size, 3),
                kernel_initializer=tf_keras.initializers.GlorotUniform(0),
            ),
            tf_keras.layers.BatchNormalization(),
            tf_keras.layers.ReLU(),
            tf_keras.layers.GlobalAveragePooling2D(),
        ]
    )
    images = tf.TensorSpec([None, size, size, 3], tf.float32)

    @tf.function
    def call(inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        return network(inputs, training=training)

    for training in (False, True):
        call.get_concrete_function(images, training)
    # A Checkpoint, and not a Module, whose `variables` cannot be assigned.
    saved = tf.train.Checkpoint(network=network)
    saved.__call__ = call
    saved.variables = network.variables
    saved.trainable_variables = network.trainable_variables
    saved.regularization_losses = []
    tf.saved_model.save(saved, str(directory))
    return directory
