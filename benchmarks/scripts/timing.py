"""One batch, and how long a call on it takes: the same for every forward pass that is compared."""

import statistics
import time
from collections.abc import Callable

import numpy as np

BATCH_SIZE = 32
_WARM_UP, _CALLS = 3, 20


def a_batch() -> np.ndarray:
    """float32 [32, 224, 224, 3] in [0, 1]; always the same."""
    return np.random.default_rng(0).random((BATCH_SIZE, 224, 224, 3), np.float32)


def ms_per_image(call: Callable[[], object]) -> float:
    """The median of many calls on a batch, in milliseconds an image."""
    for _ in range(_WARM_UP):
        call()
    took = []
    for _ in range(_CALLS):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e3 / BATCH_SIZE
