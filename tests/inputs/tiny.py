"""Small real things to test with: images in folders, and a backbone of a few hundred numbers."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

COLORS = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (200, 50, 40)}


def write_images(root: Path, counts: Mapping[str, int], size: int = 48, seed: int = 0) -> None:
    """Write `counts[label]` noisy PNGs of one colour each under root/<label>/."""
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
    write_images(root / "train", dict.fromkeys(COLORS, train), seed=1)
    write_images(root / "validation", dict.fromkeys(COLORS, validation), seed=2)
    return root


def write_backbone(directory: Path, size: int = 32) -> Path:
    """A reusable SavedModel: convolution, batch normalization, average pool; 8 features."""
    import tensorflow as tf
    import tf_keras

    network = tf_keras.Sequential(
        [
            tf_keras.layers.Conv2D(
                8,
                3,
                strides=2,
                input_shape=(size, size, 3),
                use_bias=False,  # as in every network whose normalizations can be folded
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


BEANS = ("angular_leaf_spot", "bean_rust", "healthy")


def write_beans(data_dir: Path, num_shards: int = 3) -> Path:
    """A prepared `beans/0.1.0` below `data_dir`, written by TFDS: 30, 9 and 6 JPEGs of 24×24."""
    import tensorflow_datasets as tfds

    class Beans(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        """What TFDS's own `beans` prepares, but for the size of the images."""

        name = "beans"
        VERSION = tfds.core.Version("0.1.0")

        def _info(self) -> tfds.core.DatasetInfo:
            features = {
                "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(names=BEANS),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, Any]]]:
            sizes = {"train": 30, "validation": 9, "test": 6}
            return {split: self._generate_examples(size) for split, size in sizes.items()}

        def _generate_examples(self, count: int) -> Iterator[tuple[int, Any]]:
            for i in range(count):
                encoded = io.BytesIO()
                Image.new("RGB", (24, 24), (8 * i, 10 * count % 256, 60)).save(encoded, "JPEG")
                encoded.seek(0)
                yield i, {"image": encoded, "label": i % 3}

    config = tfds.download.DownloadConfig(try_download_gcs=False, num_shards=num_shards)
    builder = Beans(data_dir=str(data_dir))
    builder.download_and_prepare(download_config=config, download_dir=str(data_dir / "downloads"))
    return data_dir / "beans" / "0.1.0"


def write_files(directory: Path, files: dict[str, bytes]) -> Path:
    """`files`, path to content, below `directory`."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory
