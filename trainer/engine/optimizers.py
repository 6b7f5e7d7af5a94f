"""Build the optimizer and its learning rate from flags."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf
import tf_keras

from trainer.engine import fused_optimizers
from trainer.settings.config import Config


class WarmupThenDecay(tf_keras.optimizers.schedules.LearningRateSchedule):
    """Linear from 0 to `peak` in `warmup_steps`, then a half cosine to 0 at `num_steps`.

    The cosine: Loshchilov and Hutter, SGDR, 2017 (arXiv:1608.03983), without restarts; the
    warm-up: Goyal et al., 2017 (arXiv:1706.02677).

    Args:
        peak: the highest learning rate.
        warmup_steps: steps before it.
        num_steps: the run's length.
        decays: False keeps `peak` after the warm-up.
    """

    def __init__(self, peak: float, warmup_steps: int, num_steps: int, decays: bool) -> None:
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.num_steps = num_steps
        self.decays = decays

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Return the learning rate of step `step` (from 0), a float32 scalar."""
        step = tf.cast(step, tf.float32)
        warm = (step + 1.0) / max(self.warmup_steps, 1)
        after = (step - self.warmup_steps) / max(self.num_steps - self.warmup_steps, 1)
        cosine = 0.5 * (1.0 + tf.cos(math.pi * tf.clip_by_value(after, 0.0, 1.0)))
        later = cosine if self.decays else tf.ones_like(cosine)
        return self.peak * tf.where(step < self.warmup_steps, warm, later)

    def get_config(self) -> dict[str, Any]:
        """See LearningRateSchedule."""
        return dict(vars(self))


def learning_rate(config: Config, num_steps: int) -> WarmupThenDecay:
    """Return the learning rate schedule of a run of `num_steps` steps."""
    return WarmupThenDecay(
        config.learning_rate,
        config.warmup_steps,
        num_steps,
        decays=config.learning_rate_schedule == "cosine",
    )


def build(config: Config, num_steps: int) -> tf_keras.optimizers.Optimizer:
    """Build the optimizer of `config` for a run of `num_steps` steps, without variables yet.

    Weight decay is decoupled (Loshchilov and Hutter, 2019, arXiv:1711.05101) for each of them.
    """
    schedule = learning_rate(config, num_steps)
    decay = config.weight_decay or None
    if config.optimizer == "sgd":
        optimizer: Any = fused_optimizers.SGD(schedule, momentum=0.9, weight_decay=decay)
    else:  # adam equals adamw: the decay is decoupled for each
        optimizer = fused_optimizers.Adam(schedule, weight_decay=decay)
    if config.precision == "mixed_float16":
        optimizer = tf_keras.mixed_precision.LossScaleOptimizer(optimizer)
    return optimizer
