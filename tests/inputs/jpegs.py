"""Folders of plain JPEGs for pipelines in the test's own process, and TensorFlow to run them.

Each iterator makes the decoder of all other formats anew unless every image is a plain JPEG, and
optimizes every function of the pipeline unless TensorFlow starts as a run starts it.
"""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from PIL import Image

from tests.inputs import tiny
from trainer.graph.plain_pipeline import skip_graph_optimizer

with skip_graph_optimizer():
    tf.constant(0)  # if this is its first use


def write_folder(root: Path, train: int, validation: int, size: int = 48) -> Path:
    """As tiny.write_folder, with `000.jpg` in the place of `000.png` and so on."""
    for seed, (split, count) in enumerate((("train", train), ("validation", validation)), 1):
        tiny.write_images(root / split, dict.fromkeys(tiny.COLORS, count), size, seed)
    for path in root.rglob("*.png"):
        with Image.open(path) as image:
            image.save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    return root
