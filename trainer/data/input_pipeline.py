"""From a source to batches: the order of a run's examples is a function of (seed, step) alone.

Step k takes `global_batch_size / num_logical_shards` examples from each logical shard, in the
order of the shards. A worker reads the shards it owns, so the examples of step k are the same on
any number of workers, and a resumed run starts at its step instead of replaying.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.data import augment
from trainer.data.decode_checked import BadImages, Example, load_images
from trainer.data.source import Source

_FOREVER = tf.int64.max

# Images that one thread decodes in a row. To start its functions takes 1 ms, shared by so many.
_SMALLEST_GROUP, _LARGEST_GROUP = 8, 32

# Nothing here needs AutoGraph, and translating it costs seconds at the start of a run.
_as_written = tf.autograph.experimental.do_not_convert


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
        examples = _in_turns(
            shards, lambda shard: self._shard_stream(split, shard, first_step), self.block
        )
        batch_size = len(shards) * self.block // num_replicas
        positions = [shard * self.block + i for shard in shards for i in range(self.block)]
        first_place = first_step * len(positions)
        steps_per_epoch = self._steps_per_epoch(split)

        def placed(group: Example, place: tf.Tensor) -> Example:
            places = place + tf.range(tf.size(group["id"], tf.int64))
            steps = places // len(positions)
            return {
                **group,
                "step": steps,
                "epoch": steps // steps_per_epoch,
                "position": tf.gather(tf.constant(positions), places % len(positions)),
            }

        batches = self._batches(
            examples,
            batch_size,
            lambda group, place: placed(group, first_place + place),
            window=lambda example: augment.crop_window(self.augment, self._seeds(example)),
            transform=lambda image, example: augment.augment(
                image, self.augment, self._seeds(example)
            ),
        )
        return batches.map(_as_written(self._training_batch)).prefetch(2 * num_replicas)

    def evaluation_batches(
        self, split: str, replicas: Sequence[int], num_replicas: int
    ) -> tf.data.Dataset:
        """Every example of `split` once, padded so that all replicas have as many; and again.

        One pass is `evaluation_steps` steps; without end, so that one iterator serves all passes.

        Args:
            split: the split to read.
            replicas: which of all replicas are this worker's, in order.
            num_replicas: how many replicas there are in all; each reads a part of its own.

        Returns:
            One element a replica and step: {"image": float32 [batch, height, width, 3] in [0, 1],
            "label": int64 [batch], "weight": float32 [batch], 0 for padding and for what could
            not be decoded}.
        """
        num_steps = self.evaluation_steps(split, num_replicas)
        largest_part = -(-self.source.num_examples(split) // num_replicas)
        batch_size = -(-largest_part // num_steps)  # no larger than it must be: padding costs time
        padding = {"encoded": [b""], "label": np.zeros(1, np.int64), "id": [b""]}

        def stream(part: tf.Tensor) -> tf.data.Dataset:
            examples = self.source.examples(split, part, num_replicas, shuffle=False)
            # From slices: tf.data takes a data set from a tensor for one with a state.
            forever = tf.data.Dataset.from_tensor_slices(padding).repeat()
            return examples.concatenate(forever).take(num_steps * batch_size)

        batches = self._batches(_in_turns(replicas, stream, batch_size).repeat(), batch_size)
        return batches.map(_as_written(_evaluation_batch)).prefetch(2 * len(replicas))

    def evaluation_steps(self, split: str, num_replicas: int) -> int:
        """Global batches, of the training's size at the most, that hold every example once."""
        largest_part = -(-self.source.num_examples(split) // num_replicas)
        return -(-largest_part // max(1, self.global_batch_size // num_replicas))

    def _batches(
        self,
        examples: tf.data.Dataset,
        batch_size: int,
        placed: Callable[[Example, tf.Tensor], Example] = lambda group, place: group,
        **options: Any,
    ) -> tf.data.Dataset:
        """Batches of decoded images; `placed` is told the place of a group's first one."""
        group_size = _group_size(batch_size)
        groups = examples.batch(group_size, drop_remainder=True)
        places = tf.data.Dataset.range(0, _FOREVER, group_size)
        numbered = tf.data.Dataset.zip(groups, places).map(_as_written(placed))
        loaded = load_images(
            numbered, self.image_size, self.bad_images, parallelism=_num_cores(), **options
        )
        if group_size == batch_size:
            return loaded
        whole = loaded.batch(batch_size // group_size, drop_remainder=True)
        return whole.map(_as_written(lambda batch: {k: _flat(v) for k, v in batch.items()}))

    def _seeds(self, example: Example) -> tf.Tensor:
        return augment.example_seed(self.seed, example["epoch"], example["id"])

    def _steps_per_epoch(self, split: str) -> int:
        return self.source.num_examples(split) // self.global_batch_size

    def _shard_stream(self, split: str, shard: tf.Tensor, first_step: int) -> tf.data.Dataset:
        """Examples of one logical shard, epoch after epoch, from the first of `first_step` on."""
        # The same for each shard: what does not fill a batch is left out, others every epoch.
        an_epoch = self._steps_per_epoch(split) * self.block
        first_epoch, done = divmod(first_step * self.block, an_epoch)

        @_as_written
        def epoch_of_examples(epoch: tf.Tensor) -> tf.data.Dataset:
            skip = tf.where(epoch == first_epoch, tf.constant(done, tf.int64), 0)
            examples = self.source.examples(
                split, shard, self.num_logical_shards, epoch=epoch, seed=self.seed, skip=skip
            )
            return examples.take(an_epoch - skip)

        return tf.data.Dataset.range(first_epoch, _FOREVER).flat_map(epoch_of_examples)

    def _training_batch(self, batch: Example) -> Example:
        images = batch["image"]
        targets = tf.one_hot(batch["label"], len(self.source.class_names))
        if self.mixup_alpha or self.cutmix_alpha:
            leaders = [batch[key][:: self.block] for key in ("epoch", "id")]
            seeds = tf.map_fn(
                lambda leader: augment.example_seed(self.seed, *leader),
                leaders,
                fn_output_signature=tf.TensorSpec([2], tf.int64),
            )
            images, targets = augment.mix(
                images, targets, self.block, self.mixup_alpha, self.cutmix_alpha, seeds
            )
        return {
            "image": images,
            "target": targets,
            "weight": tf.cast(batch["is_good"], tf.float32),
            "position": batch["position"],
        }


def _in_turns(
    parts: Sequence[int], stream: Callable[[tf.Tensor], tf.data.Dataset], block: int
) -> tf.data.Dataset:
    """`block` examples of the first part's stream, as many of the second's, …, in turns."""
    numbers = tf.data.Dataset.from_tensor_slices(tf.constant(list(parts), tf.int64))
    return numbers.interleave(_as_written(stream), cycle_length=len(parts), block_length=block)


def _evaluation_batch(batch: Example) -> Example:
    return {
        "image": batch["image"],
        "label": batch["label"],
        "weight": tf.cast(batch["is_good"], tf.float32),
    }


def _group_size(batch_size: int) -> int:
    """The largest group that batches consist of; the whole batch where only tiny ones fit."""
    sizes = range(min(batch_size, _LARGEST_GROUP), 0, -1)
    largest = next(size for size in sizes if batch_size % size == 0)
    return largest if largest >= _SMALLEST_GROUP else batch_size


def _flat(columns: tf.Tensor) -> tf.Tensor:
    """[a, b, …] to [a × b, …]."""
    return tf.reshape(columns, [columns.shape[0] * columns.shape[1], *columns.shape[2:]])


def _num_cores() -> int:
    """The cores that this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0))
