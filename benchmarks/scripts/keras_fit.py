"""`tf_keras.Model.fit` on Graft's model, as TensorFlow's guides say to do it well.

The input pipeline decodes in parallel and prefetches; in training the head alone, decoded images
are kept in memory after the first epoch (`cache`) and shuffled whole.

    python -m benchmarks.scripts.keras_fit frozen DATA BACKBONE EPOCHS
    python -m benchmarks.scripts.keras_fit tuned DATA BACKBONE STEPS

`frozen` trains the head, with validation after every epoch, and prints {"epoch", "time", "loss",
"acc", "val_loss", "val_acc"} after each; `tuned` trains everything for so many steps and prints
{"images_per_sec": …} over all steps but the first few.
"""

import json
import sys
import time

import tensorflow as tf
import tensorflow_datasets as tfds
import tensorflow_hub as hub
import tf_keras as keras

from benchmarks.setting import BATCH_SIZE, NUM_TRAIN

IMAGE_SIZE = (224, 224)
WARM_UP_STEPS = 4


def batches(data: str, split: str, is_training: bool, keep: bool) -> tf.data.Dataset:
    """Batches of images, float32 [batch, 224, 224, 3] in [0, 1], and labels, int64 [batch]."""
    dataset = tfds.builder_from_directory(data).as_dataset(
        split=split, as_supervised=True, decoders={"image": tfds.decode.SkipDecoding()}
    )

    def load(encoded: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.io.decode_jpeg(encoded, channels=3)
        return tf.image.resize(tf.cast(image, tf.float32) / 255, IMAGE_SIZE), label

    if is_training and not keep:
        dataset = dataset.shuffle(NUM_TRAIN).repeat()
    dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE)
    if keep:
        dataset = dataset.cache()
        dataset = dataset.shuffle(NUM_TRAIN) if is_training else dataset
    return dataset.batch(BATCH_SIZE).prefetch(tf.data.AUTOTUNE)


def model(backbone: str, is_tuned: bool) -> keras.Model:
    """The backbone and Graft's head, compiled."""
    network = keras.Sequential(
        [
            hub.KerasLayer(backbone, input_shape=(*IMAGE_SIZE, 3), trainable=is_tuned),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(3),
        ]
    )
    network.compile(
        optimizer=keras.optimizers.Adam(),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["acc"],
    )
    return network


class PrintEpochs(keras.callbacks.Callback):
    """A line at the end of each epoch."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """See Callback."""
        print(json.dumps({"epoch": epoch + 1, "time": time.time(), **(logs or {})}), flush=True)


class PrintRate(keras.callbacks.Callback):
    """Images a second after the warm-up."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """See Callback."""
        self.ends.append(time.monotonic())

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """See Callback."""
        ends = self.ends[WARM_UP_STEPS - 1 :]
        rate = (len(ends) - 1) * BATCH_SIZE / (ends[-1] - ends[0])
        print(json.dumps({"images_per_sec": rate}), flush=True)


def main(kind: str, data: str, backbone: str, length: int) -> None:
    """See the module."""
    if kind == "frozen":
        model(backbone, is_tuned=False).fit(
            batches(data, "train", is_training=True, keep=True),
            validation_data=batches(data, "validation", is_training=False, keep=True),
            epochs=length,
            verbose=0,
            callbacks=[PrintEpochs()],
        )
    else:
        model(backbone, is_tuned=True).fit(
            batches(data, "train", is_training=True, keep=False),
            steps_per_epoch=length,
            verbose=0,
            callbacks=[PrintRate()],
        )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
