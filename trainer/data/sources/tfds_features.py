"""The features of a TFDS data set that are the image, its label and its id."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from trainer.data.sources.source import Example
from trainer.process.errors import UserError


def keys(name: str, info: Any) -> tuple[str, str]:
    """Return the names of the image and of the label.

    Args:
        name: of the data set in messages.
        info: its `tfds.core.DatasetInfo`.

    Raises:
        UserError: it does not have exactly one of each.
    """
    import tensorflow_datasets as tfds

    images = [k for k, v in info.features.items() if isinstance(v, tfds.features.Image)]
    labels = [k for k, v in info.features.items() if isinstance(v, tfds.features.ClassLabel)]
    keys = info.supervised_keys or ()
    for key, candidates in zip(keys, (images, labels), strict=False):
        if key in candidates:
            candidates[:] = [key]
    if len(images) != 1 or len(labels) != 1:
        raise UserError(
            f"{name}: must have one Image and one ClassLabel among its features; "
            f"it has {', '.join(f'{k} ({type(v).__name__})' for k, v in info.features.items())}"
        )
    return images[0], labels[0]


def example(record: bytes, image_key: str, label_key: str, id_key: str, default_id: str) -> Example:
    """Parse a record outside of a graph.

    Args:
        record: a `tf.train.Example`, serialized.
        image_key: see keys.
        label_key: see keys.
        id_key: the feature with the example's id; "" without one.
        default_id: the id in that case.
    """
    features = tf.train.Example.FromString(record).features.feature
    (encoded,) = features[image_key].bytes_list.value
    (label,) = features[label_key].int64_list.value
    if not id_key:
        return Example(encoded, label, default_id)
    (example_id,) = features[id_key].bytes_list.value
    return Example(encoded, label, example_id.decode("utf-8", "replace"))
