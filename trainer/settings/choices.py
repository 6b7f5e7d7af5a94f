"""What each setting may be: the names, and the numbers."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

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

# By setting.
CHOICES = {
    "all_reduce_alg": ALL_REDUCE_ALGS,
    "augment": AUGMENT_POLICIES,
    "bad_images": BAD_IMAGES,
    "class_weights": CLASS_WEIGHTS,
    "learning_rate_schedule": SCHEDULES,
    "log_format": LOG_FORMATS,
    "optimizer": OPTIMIZERS,
    "precision": PRECISIONS,
    "strategy": STRATEGIES,
}

INFINITY = math.inf

# By setting: at least the first, and below the second.
RANGES = {
    "checkpoint_every_secs": (1, INFINITY),
    "checkpoint_every_steps": (1, 2**31),
    "cutmix_alpha": (0, INFINITY),
    "dropout": (0, 1),
    "early_stopping_patience": (0, 2**31),
    "embedding_points": (0, 10_001),
    "feature_views": (0, 2**16),
    "eval_every_epochs": (1, 2**31),
    "global_batch_size": (1, 2**31),
    "gradient_clip_norm": (0, INFINITY),
    "histograms_every_epochs": (0, 2**31),
    "image_size": (0, 4097),
    "keep_checkpoints": (1, 2**31),
    "label_smoothing": (0, 1),
    "learning_rate": (0, INFINITY),
    "log_every_steps": (1, 2**31),
    "log_progress_secs": (0, INFINITY),
    "log_upload_secs": (1, INFINITY),
    "mixup_alpha": (0, INFINITY),
    "num_epochs": (1, 2**31),
    "num_logical_shards": (0, 2**31),
    "num_steps": (1, 2**31),
    "rendezvous_timeout_secs": (1, INFINITY),
    "seed": (0, 2**31),
    "shuffle_buffer_size": (1, 2**31),
    "stall_timeout_secs": (1, INFINITY),
    "warmup_steps": (0, 2**31),
    "weight_decay": (0, INFINITY),
}

KEEPS_FEATURES = ("auto", "on", "off")


def _is_place(text: str) -> bool:
    return bool(text) and ("://" not in text or text.startswith("gs://"))


def _keeps_features(text: str) -> bool:
    # A bare word is a mistyped choice, unless it is a directory already.
    return text in KEEPS_FEATURES or (_is_place(text) and ("/" in text or os.path.isdir(text)))


# By setting: what it must be, and in words.
PLACES: dict[str, tuple[Callable[[str], bool], str]] = {
    "dataset": (bool, "a name, a directory or an import file"),
    "backbone": (bool, "a name, a handle or a directory"),
    "workdir": (_is_place, "a local directory or gs://BUCKET/DIRECTORY, to keep the run in"),
    "cache_dir": (lambda text: "://" not in text, "a local directory"),
    "feature_cache": (
        _keeps_features,
        f"{', '.join(KEEPS_FEATURES)} or a directory, local or gs://, with a slash in it: "
        "./features",
    ),
}


def value_range(text: str) -> tuple[float, float] | None:
    """Read `--image_range`: "auto" is None (ask the model), "LOW,HIGH" two numbers.

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
