import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from trainer.engine import fused_optimizers, optimizers
from trainer.settings.config import Config


def rates(num_steps, **settings):
    schedule = optimizers.learning_rate(Config(workdir="w", **settings), num_steps)
    return [float(schedule(tf.constant(step, tf.int64))) for step in range(num_steps + 2)]


def test_cosine():
    expected = [0.5 * (1 + math.cos(math.pi * s / 8)) for s in range(9)] + [0.0]
    assert rates(8, learning_rate=1.0) == pytest.approx(expected, abs=1e-6)


def test_warmup_then_cosine():
    warm = [0.25, 0.5, 0.75, 1.0]
    after = [0.5 * (1 + math.cos(math.pi * s / 4)) for s in range(5)] + [0.0]
    assert rates(8, learning_rate=1.0, warmup_steps=4) == pytest.approx(warm + after, abs=1e-6)


def test_constant():
    assert rates(4, learning_rate=0.5, learning_rate_schedule="constant") == [0.5] * 6
    assert rates(
        4, learning_rate=0.5, learning_rate_schedule="constant", warmup_steps=2
    ) == pytest.approx([0.25, 0.5, 0.5, 0.5, 0.5, 0.5])


def test_get_config_makes_the_same_schedule():
    schedule = optimizers.WarmupThenDecay(0.1, 3, 10, True)
    again = optimizers.WarmupThenDecay(**schedule.get_config())
    assert [float(again(s)) for s in range(11)] == [float(schedule(s)) for s in range(11)]


def after_a_step(gradient, **settings):
    """1.0 after one step with `gradient`, at a constant learning rate of 0.1."""
    config = Config(workdir="w", learning_rate=0.1, learning_rate_schedule="constant", **settings)
    optimizer = optimizers.build(config, 10)
    variable = tf.Variable([1.0])
    optimizer.build([variable])
    optimizer.apply_gradients([(tf.constant([gradient]), variable)])
    return float(variable.numpy()[0])


@pytest.mark.parametrize(
    ("settings", "gradient", "expected"),
    [
        ({"optimizer": "adam"}, 2.0, 0.9),  # Adam's first step is the learning rate
        ({"optimizer": "adamw"}, 2.0, 0.9),
        ({"optimizer": "sgd"}, 2.0, 1 - 0.1 * 2.0 * 1.9),  # Nesterov: (1 + momentum) · gradient
        # Decoupled decay: learning rate · decay · weight, whatever the gradient.
        ({"optimizer": "adam", "weight_decay": 0.5}, 0.0, 0.95),
        ({"optimizer": "adamw", "weight_decay": 0.5}, 0.0, 0.95),
        ({"optimizer": "sgd", "weight_decay": 0.5}, 0.0, 0.95),
        ({"optimizer": "adamw"}, 0.0, 1.0),
    ],
)
def test_one_step(settings, gradient, expected):
    assert after_a_step(gradient, **settings) == pytest.approx(expected, abs=1e-5)


def test_float16_scales_the_loss():
    optimizer = optimizers.build(Config(workdir="w", precision="mixed_float16"), 10)
    assert isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer)
    assert np.isclose(float(optimizer.get_scaled_loss(tf.constant(1.0))), 2.0**15)
    for precision in ("float32", "mixed_bfloat16"):
        plain = optimizers.build(Config(workdir="w", precision=precision), 10)
        assert type(plain) is fused_optimizers.Adam
