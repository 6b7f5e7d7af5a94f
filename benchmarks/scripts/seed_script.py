"""The script Graft grew from, for the same data and backbone as Graft uses.

What it does is as its author wrote it: `as_supervised` images, resized floats, no parallel map,
no prefetch, `shuffle(1000)`, `Dense(128, relu)`, `Dense(3)`, Adam, batch 32, `fit` with
validation after every epoch. Changed: the data come from a prepared TFDS directory, the backbone
from a SavedModel directory, `keras` is tf_keras (hub.KerasLayer needs it), and one JSON line is
printed at the end of each epoch.

    python -m benchmarks.scripts.seed_script DATA BACKBONE EPOCHS
"""

import json
import sys
import time

import tensorflow as tf
import tensorflow_datasets as tfds
import tensorflow_hub as hub
import tf_keras as keras

IMG_SIZE = 224
BATCH_SIZE = 32
SHUFFLE_BUFFER_SIZE = 1000


def format_sample(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Normalize and resize."""
    image = tf.cast(image, tf.float32)
    image = image / 255.0
    image = tf.image.resize(image, (IMG_SIZE, IMG_SIZE))
    return image, label


class PrintEpoch(keras.callbacks.Callback):
    """One JSON line at the end of each epoch."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """See Callback."""
        line = {"epoch": epoch + 1, "time": time.time(), **(logs or {})}
        print(json.dumps(line), flush=True)


def main(data: str, backbone: str, epochs: int) -> None:
    """Train as the script did."""
    datasets = tfds.builder_from_directory(data).as_dataset(as_supervised=True)
    train = datasets["train"].map(format_sample)
    validation = datasets["validation"].map(format_sample)
    train_batches = train.shuffle(SHUFFLE_BUFFER_SIZE).batch(BATCH_SIZE)
    validation_batches = validation.batch(BATCH_SIZE)

    feature_extractor_layer = hub.KerasLayer(backbone, input_shape=(IMG_SIZE, IMG_SIZE, 3))
    feature_extractor_layer.trainable = False
    model = keras.Sequential(
        [
            feature_extractor_layer,
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(3),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["acc"],
    )
    model.fit(
        train_batches,
        epochs=epochs,
        validation_data=validation_batches,
        verbose=0,
        callbacks=[PrintEpoch()],
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
