"""From a source to batches: the order of a run's examples is a function of (seed, step) alone.

Step k takes `global_batch_size / num_logical_shards` examples from each logical shard, in the
order of the shards. A worker reads the shards it owns, so the examples of step k are the same on
any number of workers, and a resumed run starts at its step instead of replaying.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from trainer.data import augment
from trainer.data.decode_checked import BadImages, decode_or_report
from trainer.data.source import Source

_FOREVER = tf.int64.max


@dataclasses.dataclass(frozen=True)
class InputPipeline:
    """How the examples of a source become batches.

    Attributes:
        source: where they come from.
        image_size: (height, width) of a batch's images.
        global_batch_size: examples a step, over all workers.
        num_logical_shards: parts that a split is cut into; divides the batch.
        seed: of order and augmentation.
        augment: the policy, one of config.AUGMENT_POLICIES.
        mixup_alpha, cutmix_alpha: see augment.mix; 0 is off.
        bad_images: told of each image that cannot be decoded.
    """

    source: Source
    image_size: tuple[int, int]
    global_batch_size: int
    num_logical_shards: int
    seed: int
    bad_images: BadImages
    augment: str = "none"
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0

    @property
    def block(self) -> int:
        """Examples of one logical shard in a step."""
        return self.global_batch_size // self.num_logical_shards

    def training_batches(
        self, split: str, shards: Sequence[int], num_replicas: int, first_step: int
    ) -> tf.data.Dataset:
        """Batches of training examples from step `first_step` on, without end.

        Args:
            split: the split to read.
            shards: the logical shards that this worker owns, in order.
            num_replicas: replicas of this worker; each is given whole blocks, in order.
            first_step: 0, or the number of steps already done.

        Returns:
            One element a replica and step: {"image": float32 [batch, height, width, 3] in [0, 1],
            "target": float32 [batch, classes], "weight": float32 [batch], 0 for what could not be
            decoded, "position": int32 [batch] in the global batch}.
        """
        streams = [self._shard_stream(split, shard, first_step) for shard in shards]
        positions = tf.constant(
            [shard * self.block + i for shard in shards for i in range(self.block)]
        )
        batch_size = len(shards) * self.block // num_replicas
        blocks = tf.data.Dataset.range(len(streams) * self.block).map(lambda i: i // self.block)
        examples = tf.data.Dataset.choose_from_datasets(streams, blocks.repeat())
        examples = tf.data.Dataset.zip(
            examples, tf.data.Dataset.from_tensor_slices(positions).repeat()
        )
        examples = examples.map(
            self._training_example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        batches = examples.batch(batch_size, drop_remainder=True)
        batches = batches.map(self._mixed, num_parallel_calls=2, deterministic=True)
        return batches.prefetch(2 * num_replicas)

    def evaluation_batches(
        self, split: str, shards: Sequence[int], num_replicas: int
    ) -> tf.data.Dataset:
        """Every example of `split` once, padded so that each worker has as many batches.

        Returns:
            One element a replica and step: {"image": float32 [batch, height, width, 3] in [0, 1],
            "label": int64 [batch], "weight": float32 [batch], 0 for padding and for what could
            not be decoded}.
        """
        largest = -(-self.source.num_examples(split) // self.num_logical_shards)
        padded = -(-largest // self.block) * self.block
        padding = {"encoded": b"", "label": tf.constant(0, tf.int64), "id": b""}
        padding_forever = tf.data.Dataset.from_tensors(padding).repeat()
        streams = [
            self.source.examples(split, shard, self.num_logical_shards, shuffle=False)
            .concatenate(padding_forever)
            .take(padded)
            for shard in shards
        ]
        blocks = tf.data.Dataset.range(len(streams) * self.block).map(lambda i: i // self.block)
        examples = tf.data.Dataset.choose_from_datasets(
            streams, blocks.repeat(padded // self.block)
        )
        examples = examples.map(
            self._evaluation_example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        batch_size = len(shards) * self.block // num_replicas
        return examples.batch(batch_size, drop_remainder=True).prefetch(2 * num_replicas)

    def _shard_stream(self, split: str, shard: int, first_step: int) -> tf.data.Dataset:
        """Examples of one logical shard, epoch after epoch, from the first of `first_step` on."""
        steps_per_epoch = self.source.num_examples(split) // self.global_batch_size
        # The same for each shard: what does not fill a batch is left out, others every epoch.
        an_epoch = steps_per_epoch * self.block
        first_epoch, done = divmod(first_step * self.block, an_epoch)

        def epoch_of_examples(epoch: tf.Tensor) -> tf.data.Dataset:
            skip = tf.where(epoch == first_epoch, tf.constant(done, tf.int64), 0)
            examples = self.source.examples(
                split, shard, self.num_logical_shards, epoch=epoch, seed=self.seed, skip=skip
            )
            places = tf.data.Dataset.range(skip, an_epoch)

            def placed(place: tf.Tensor, example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
                step = epoch * steps_per_epoch + place // self.block
                return {**example, "epoch": epoch, "step": step}

            return tf.data.Dataset.zip(places, examples).map(placed)

        return tf.data.Dataset.range(first_epoch, _FOREVER).flat_map(epoch_of_examples)

    def _training_example(
        self, example: dict[str, tf.Tensor], position: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        seeds = augment.example_seed(self.seed, example["epoch"], example["id"])
        image, is_good = decode_or_report(
            example["encoded"],
            example["id"],
            self.image_size,
            self.bad_images,
            step=example["step"],
            window=augment.crop_window(self.augment, seeds),
        )
        return {
            "image": augment.augment(image, self.augment, seeds),
            "target": tf.one_hot(example["label"], len(self.source.class_names)),
            "weight": tf.cast(is_good, tf.float32),
            "position": position,
            "seeds": seeds,
        }

    def _mixed(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        seeds = batch.pop("seeds")
        if self.mixup_alpha or self.cutmix_alpha:
            batch["image"], batch["target"] = augment.mix(
                batch["image"],
                batch["target"],
                self.block,
                self.mixup_alpha,
                self.cutmix_alpha,
                seeds[:: self.block],
            )
        return batch

    def _evaluation_example(self, example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        image = tf.zeros((*self.image_size, 3))
        is_good = tf.constant(False)
        if_real = example["id"] != b""
        image, is_good = tf.cond(
            if_real,
            lambda: decode_or_report(
                example["encoded"], example["id"], self.image_size, self.bad_images, step=0
            ),
            lambda: (image, is_good),
        )
        weight = tf.cast(is_good, tf.float32)
        return {"image": image, "label": example["label"], "weight": weight}
