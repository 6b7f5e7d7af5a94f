"""Allowed values of settings: names, and predicates."""

from __future__ import annotations

import math
import os

from trainer.process.errors import UserError

AUGMENT_POLICIES = ("none", "light", "randaugment")
BAD_IMAGES = ("error", "skip")
CLASS_WEIGHTS = ("none", "balanced")
EXPORT_FORMATS = ("saved_model", "saved_model_no_webp", "tflite")
LOG_FORMATS = ("auto", "text", "json")
OPTIMIZERS = ("adam", "adamw", "sgd")
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
SCHEDULES = ("cosine", "constant")
ALL_REDUCE_ALGS = ("auto", "ring", "nccl")
STRATEGIES = ("auto", "one_device", "mirrored", "tpu")

FEATURE_CACHE_MODES = ("auto", "on", "off")
MAX_UNITS = 2**16


def is_location(text: str) -> bool:
    """Whether `text` is a local path or one in a bucket."""
    return bool(text) and ("://" not in text or text.startswith("gs://"))


def is_feature_cache(text: str) -> bool:
    """Whether `text` is a mode or a directory; a bare name must be an existing directory."""
    is_directory = is_location(text) and ("/" in text or os.path.isdir(text))
    return text in FEATURE_CACHE_MODES or is_directory


def is_range_of_steps(steps: tuple[int, ...]) -> bool:
    """Whether `steps` is empty, or a first step and a later one."""
    return not steps or (len(steps) == 2 and 0 < steps[0] < steps[1])


def are_layer_sizes(sizes: tuple[int, ...]) -> bool:
    """Whether each of `sizes` is a valid dense layer size."""
    return all(0 < size <= MAX_UNITS for size in sizes)


def value_range(text: str) -> tuple[float, float] | None:
    """Parse `--image_range`: "auto" is None (use the model's), "LOW,HIGH" two numbers.

    Raises:
        UserError: it is neither.
    """
    if text == "auto":
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = 0.0
    if not -math.inf < low < high < math.inf:
        raise UserError(f"--image_range={text}: must be auto, or LOW,HIGH such as 0,1 or -1,1")
    return low, high
