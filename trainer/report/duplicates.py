"""Pictures of one split that another one holds, too, or almost.

Two copies of a picture, one of them scaled or compressed once more, have almost the same features
in a pretrained backbone, long before their bytes or pixels agree.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_ROWS = 4096  # of features at a time

# The cosine of two pictures' features, about the mean, from which on they are near-duplicates: a
# copy at 80 % of the size and JPEG quality 70 has 0.9 to 0.97, the likest of 1,000 others 0.76.
NEAR = 0.85


def nearest(
    rows: Callable[[np.ndarray], np.ndarray], is_good: np.ndarray, queries: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each query the most similar row, by the cosine of what is beyond the queries' mean.

    Args:
        rows: places int64 [n] -> float32 [n, width].
        is_good: bool [examples]; the others are nobody's neighbours.
        queries: float32 [q, width].

    Returns:
        places int64 [q], -1 where there is none, and cosines float32 [q] in [-1, 1].
    """
    indices, cosines = np.full(len(queries), -1), np.full(len(queries), -1, np.float32)
    if not len(queries):
        return indices, cosines
    center = queries.mean(axis=0, dtype=np.float64).astype(np.float32)
    sought = _directions(queries, center)
    known = np.flatnonzero(is_good)
    for start in range(0, len(known), _ROWS):
        block = known[start : start + _ROWS]
        found = sought @ _directions(rows(block), center).T
        best = found.argmax(axis=1)
        cosine = found[np.arange(len(found)), best]
        nearer = cosine > cosines
        indices[nearer], cosines[nearer] = block[best[nearer]], cosine[nearer]
    return indices, np.clip(cosines, -1, 1)


def _directions(features: np.ndarray, center: np.ndarray) -> np.ndarray:
    beyond = features - center
    return beyond / np.maximum(np.linalg.norm(beyond, axis=1, keepdims=True), 1e-12)
