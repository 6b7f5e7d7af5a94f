"""Batches of images, decoded, augmented and mixed as a function of (seed, epoch, example)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.data import augment
from trainer.data.decode.decode_checked import BadImages, load_images
from trainer.data.ordered_batches import Example, OrderedBatches, interleaved, repeated
from trainer.data.sources.source import Index
from trainer.graph.plain_pipeline import do_not_convert
from trainer.process import machine

EXTRACTION_BATCH = 32


@dataclasses.dataclass(frozen=True)
class InputPipeline(OrderedBatches):
    """OrderedBatches with images, float32 [batch, height, width, 3] in [0, 1], as "input".

    Attributes:
        image_size: (height, width) of a batch's images.
        bad_images: records each image that cannot be decoded.
        augment: the policy, one of choices.AUGMENT_POLICIES; evaluation applies none.
        mixup_alpha, cutmix_alpha: see augment.mix; 0 is off.
    """

    image_size: tuple[int, int]
    bad_images: BadImages
    augment: str = "none"
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0

    def extraction_batches(
        self, split: str, units: Sequence[Sequence[int]], num_parts: int, num_steps: int
    ) -> tf.data.Dataset:
        """Read each example once, in the split's order, then padding, to compute its features.

        Args:
            split: the split to read.
            units: what each replica reads, in order: view × num_parts + part. A view is the
                augmentation of that epoch.
            num_parts: the number of parts of the split.
            num_steps: batches a replica; padding follows its units.

        Returns:
            One element a replica and step: {"input": float32 [32, height, width, 3] in [0, 1],
            "label": int64 [32], "id": string [32], "is_good": bool [32]}.
        """
        longest = max(map(len, units))
        counts = tf.constant([len(own) for own in units], tf.int64)
        table = tf.constant([[*own, *[0] * (longest - len(own))] for own in units], tf.int64)

        @do_not_convert
        def read(unit: tf.Tensor) -> tf.data.Dataset:
            examples = self._examples(split, unit % num_parts, num_parts, shuffle=False)
            return tf.data.Dataset.zip(examples, repeated((unit // num_parts)[None]))

        def stream(replica: tf.Tensor) -> tf.data.Dataset:
            own = tf.data.Dataset.from_tensor_slices(table[replica]).take(counts[replica])
            padding = repeated((self._padding(), np.zeros(1, np.int64)))
            return own.flat_map(read).concatenate(padding).take(num_steps * EXTRACTION_BATCH)

        batches = self._batches(
            interleaved(range(len(units)), stream, EXTRACTION_BATCH),
            EXTRACTION_BATCH,
            lambda group, indices: {**group[0], "epoch": group[1]},
        )
        return batches.map(do_not_convert(_extraction_batch)).prefetch(2 * len(units))

    def _examples(self, split: str, part: Index, num_parts: int, **order: Any) -> tf.data.Dataset:
        return self.source.examples(split, part, num_parts, **order)

    def _padding(self) -> dict[str, Any]:
        return {"encoded": [b""], "label": np.zeros(1, np.int64), "id": [b""]}

    def _load(self, groups: tf.data.Dataset) -> tf.data.Dataset:
        # Examples of an evaluation belong to no epoch.
        policy = self.augment if "epoch" in groups.element_spec else "none"

        def window(example: Example) -> tf.Tensor | None:
            return None if policy == "none" else augment.crop_window(policy, self._seeds(example))

        def transform(image: tf.Tensor, example: Example) -> tf.Tensor:
            if policy == "none":
                return image
            return augment.augment(image, policy, self._seeds(example))

        return load_images(
            groups,
            self.image_size,
            self.bad_images,
            parallelism=machine.num_cores(),
            window=window,
            transform=transform,
        )

    def _seeds(self, example: Example) -> tf.Tensor:
        return augment.example_seed(self.seed, example["epoch"], example["id"])

    def _training_batch(self, batch: Example) -> Example:
        plain = super()._training_batch(batch)
        if not (self.mixup_alpha or self.cutmix_alpha):
            return plain
        leaders = [batch[key][:: self.block] for key in ("epoch", "id")]
        seeds = tf.map_fn(
            lambda leader: augment.example_seed(self.seed, *leader),
            leaders,
            fn_output_signature=tf.TensorSpec([2], tf.int64),
        )
        images, targets = augment.mix(
            plain["input"],
            plain["target"],
            self.block,
            self.mixup_alpha,
            self.cutmix_alpha,
            seeds,
        )
        return {**plain, "input": images, "target": targets}


def _extraction_batch(batch: Example) -> Example:
    return {key: batch[key] for key in ("input", "label", "id", "is_good")}
