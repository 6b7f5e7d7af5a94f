"""Build the protos of an event file: scalars, images and histograms.

tf.summary would start an op of TensorFlow for every value. The format:
https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/summary.proto
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.util import tensor_util


class ImageSummary(NamedTuple):
    """An encoded image (PNG or JPEG), its size in pixels, and a description."""

    encoded: bytes
    width: int
    height: int
    description: str


def scalar_summary(scalars: Mapping[str, float]) -> Any:
    """Return a Summary of numbers, stored as float32, by tag."""
    return _joined(scalar_pb(tag, value) for tag, value in scalars.items())


def image_summary(images: Mapping[str, ImageSummary]) -> Any:
    """Return a Summary of images by tag."""
    summary = Summary()
    for tag, image in images.items():
        parts = [str(image.width).encode(), str(image.height).encode(), image.encoded]
        metadata = image_metadata.create_summary_metadata(
            display_name=None, description=image.description
        )
        summary.value.add(
            tag=tag, metadata=metadata, tensor=tensor_util.make_tensor_proto(parts, np.object_)
        )
    return summary


def histogram_summary(values: Mapping[str, np.ndarray]) -> Any:
    """Return a Summary of histograms by tag, of arrays of any shape, without non-finite numbers."""
    return _joined(
        histogram_pb(tag, numbers[np.isfinite(numbers)]) for tag, numbers in values.items()
    )


def _joined(summaries: Any) -> Any:
    joined = Summary()
    for summary in summaries:
        joined.MergeFrom(summary)
    return joined
