"""What is written to an event file: scalars, pictures and histograms as TensorBoard reads them.

Made here, and not by tf.summary, which starts an op of TensorFlow for every value. The format:
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
    """An encoded picture (PNG or JPEG), its size in pixels, and what one sees there."""

    encoded: bytes
    width: int
    height: int
    description: str


def of_scalars(scalars: Mapping[str, float]) -> Any:
    """A Summary of numbers, kept as float32, by tag."""
    return _joined(scalar_pb(tag, value) for tag, value in scalars.items())


def of_images(pictures: Mapping[str, ImageSummary]) -> Any:
    """A Summary of pictures by tag."""
    summary = Summary()
    for tag, picture in pictures.items():
        parts = [str(picture.width).encode(), str(picture.height).encode(), picture.encoded]
        metadata = image_metadata.create_summary_metadata(
            display_name=None, description=picture.description
        )
        summary.value.add(
            tag=tag, metadata=metadata, tensor=tensor_util.make_tensor_proto(parts, np.object_)
        )
    return summary


def of_histograms(values: Mapping[str, np.ndarray]) -> Any:
    """A Summary of distributions by tag, each of numbers of any shape; non-finite ones are out."""
    return _joined(
        histogram_pb(tag, numbers[np.isfinite(numbers)]) for tag, numbers in values.items()
    )


def _joined(summary_writer: Any) -> Any:
    whole = Summary()
    for summary in summary_writer:
        whole.MergeFrom(summary)
    return whole
