"""Features as points for TensorBoard's projector, each with its class, its id and its thumbnail.

The files: https://www.tensorflow.org/tensorboard/tensorboard_projector_plugin
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image
from tensorboard.plugins.projector import ProjectorConfig

# The projector draws two or three dimensions: more principal components would only be bytes.
MOST_DIMENSIONS = 64


def files(
    features: np.ndarray,
    class_names: Sequence[str],
    ids: Sequence[str],
    thumbnails: Sequence[Image.Image],
) -> dict[str, bytes]:
    """Return the projector's files, by their names; the last one must be published last.

    Args:
        features: float32 [points, width], finite.
        class_names: of each point.
        ids: of each point.
        thumbnails: of each point, all of one square size.
    """
    config = ProjectorConfig()
    entry = config.embeddings.add(tensor_name="validation features")
    entry.tensor_path, entry.metadata_path = "features.tsv", "metadata.tsv"
    entry.sprite.image_path = "sprite.jpg"
    entry.sprite.single_image_dim.extend(thumbnails[0].size)
    rows = [_row("class", "id"), *map(_row, class_names, ids)]
    return {
        "features.tsv": _table(principal_components(features)),
        "metadata.tsv": "".join(rows).encode(),
        "sprite.jpg": _sprite(thumbnails),
        "projector_config.pbtxt": str(config).encode(),
    }


def principal_components(features: np.ndarray) -> np.ndarray:
    """Reduce float32 [points, width] to at most MOST_DIMENSIONS principal components.

    Uses the Gram matrix of the points, which are few, and not the covariance of the columns.
    Pearson, On lines and planes of closest fit to systems of points in space, 1901.
    """
    if features.shape[1] <= MOST_DIMENSIONS:
        return features
    centered = (features - features.mean(axis=0)).astype(np.float64)
    values, vectors = np.linalg.eigh(centered @ centered.T)
    largest = np.argsort(-values)[:MOST_DIMENSIONS]
    return (vectors[:, largest] * np.sqrt(np.maximum(values[largest], 0))).astype(np.float32)


def _table(points: np.ndarray) -> bytes:
    stream = io.StringIO()
    np.savetxt(stream, points, fmt="%.5g", delimiter="\t")
    return stream.getvalue().encode()


def _row(*cells: str) -> str:
    """Format a row of a tab-separated table."""
    return "\t".join(" ".join(cell.split()) or "-" for cell in cells) + "\n"


def _sprite(thumbnails: Sequence[Image.Image]) -> bytes:
    """Arrange the thumbnails row by row in a square, the first one at the top left."""
    columns = math.ceil(math.sqrt(len(thumbnails)))
    width, height = thumbnails[0].size
    sheet = Image.new("RGB", (columns * width, columns * height), "white")
    for number, thumbnail in enumerate(thumbnails):
        sheet.paste(thumbnail, (number % columns * width, number // columns * height))
    stream = io.BytesIO()
    sheet.save(stream, "JPEG", quality=80)
    return stream.getvalue()
