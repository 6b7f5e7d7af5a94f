"""Batches of precomputed features: the same examples in the same steps as the images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.data.ordered_batches import Example, OrderedBatches
from trainer.data.sources.source import Index
from trainer.graph.plain_pipeline import do_not_convert


@dataclasses.dataclass(frozen=True)
class FeatureTable:
    """The features of one split.

    Attributes:
        num_views: the number of differently augmented versions of each image.
        labels: int64 [examples], in the split's order.
        is_good: bool [views × examples], view after view; False where the image is broken.
        rows: int64 [n], indices into the views × examples, to float32 [n, width]; in graph.
    """

    num_views: int
    labels: np.ndarray
    is_good: np.ndarray
    rows: Callable[[tf.Tensor], tf.Tensor]

    def label_counts(self, num_classes: int) -> np.ndarray:
        """Count the views of decodable images by class: int64 [classes]."""
        labels = np.tile(self.labels, self.num_views)
        return np.bincount(labels[self.is_good], minlength=num_classes)


@dataclasses.dataclass(frozen=True)
class FeaturePipeline(OrderedBatches):
    """OrderedBatches of one split with features, float32 [batch, width], as "input".

    Attributes:
        table: of the split that its methods are called with.
    """

    table: FeatureTable

    def _examples(self, split: str, part: Index, num_parts: int, **order: Any) -> tf.data.Dataset:
        return self.source.order(split, part, num_parts, **order)

    def _padding(self) -> dict[str, Any]:
        return {"index": np.full(1, -1)}

    def _load(self, groups: tf.data.Dataset) -> tf.data.Dataset:
        table = self.table
        with tf.init_scope():
            labels, is_good = tf.constant(table.labels), tf.constant(table.is_good)
        num_examples = len(table.labels)

        @do_not_convert
        def load(group: Example) -> Example:
            index = tf.maximum(group["index"], 0)
            view = group.get("epoch", tf.zeros_like(index)) % table.num_views
            row = view * num_examples + index
            return {
                **group,
                "input": table.rows(row),
                "label": tf.gather(labels, index),
                "is_good": tf.gather(is_good, row) & (group["index"] >= 0),
            }

        return groups.map(load)
