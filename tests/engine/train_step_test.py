"""One step by hand: loss, reduction, update; and many steps as one call."""

import numpy as np
import pytest
import tensorflow as tf

from trainer.engine import optimizers
from trainer.engine.train_step import TrainStep, balanced_class_weights
from trainer.models.backbone import Backbone
from trainer.models.classifier import Classifier, Head
from trainer.settings.config import Config
from trainer.workdir.state import StepMetrics


def identity(width):
    """A backbone whose features are the images that it is given."""
    return Backbone(
        handle="identity",
        path="",
        digest="",
        image_size=(1, 1),
        value_range=(0.0, 1.0),
        num_features=width,
        batch_norm_training=False,
        module=lambda images: images,
        variables=(),
        trainable_variables=(),
        regularization_losses=(),
        _input_dtype=tf.float32,
        _takes_training=False,
    )


def trained(features, targets, weights, num_steps, class_weights=(1.0, 1.0), **settings):
    """The rows and the kernel after `num_steps` steps of SGD on one and the same batch."""
    config = Config(
        workdir="unused", optimizer="sgd", learning_rate_schedule="constant", **settings
    )
    head = Head(features.shape[1], (), targets.shape[1], seed=3)
    optimizer = optimizers.build(config, 10)
    optimizer.build(head.trainable_variables)
    strategy = tf.distribute.get_strategy()
    step = TrainStep(
        config,
        strategy,
        Classifier(identity(features.shape[1]), head),
        optimizer,
        np.array(class_weights),
    )
    batch = {
        "input": features.astype(np.float32),
        "target": targets.astype(np.float32),
        "weight": np.array(weights, np.float32),
        "position": np.arange(len(features), dtype=np.int32),
    }
    batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
    before = head.trainable_variables[0].numpy()
    return step.run(batches, 0, num_steps)[0], before, head.trainable_variables[0].numpy()


FEATURES = np.array([[1.0, 2.0], [0.5, -1.0], [2.0, 0.0]])
TARGETS = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])


def by_hand(kernel, weights, class_weights, smoothing=0.0):
    logits = FEATURES @ kernel
    log_scores = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    smooth = TARGETS * (1 - smoothing) + smoothing / 2
    factor = np.array(weights) * (TARGETS @ np.array(class_weights))
    loss = -(smooth * log_scores).sum(1) * factor
    gradient = FEATURES.T @ ((np.exp(log_scores) - smooth) * factor[:, None]) / np.sum(weights)
    return loss.sum(), gradient


@pytest.mark.parametrize(
    ("weights", "class_weights", "smoothing"),
    [((1, 1, 1), (1, 1), 0.0), ((1, 0, 1), (1, 1), 0.0), ((1, 1, 1), (2, 0.5), 0.2)],
)
def test_a_step_is_what_it_is_by_hand(weights, class_weights, smoothing):
    rows, before, after = trained(
        FEATURES, TARGETS, weights, 1, class_weights, label_smoothing=smoothing, learning_rate=0.1
    )
    loss, gradient = by_hand(before, weights, class_weights, smoothing)
    assert rows[0].loss_sum == pytest.approx(loss, rel=1e-5)
    assert rows[0].num_seen == sum(weights)
    # Nesterov's first step is (1 + momentum) times the gradient.
    np.testing.assert_allclose(before - after, 0.1 * 1.9 * gradient, rtol=1e-4, atol=1e-6)


def test_a_step_that_overflows_in_float16_changes_nothing_and_has_a_norm():
    """A step in float32 that is scaled as in float16; what overflows there is 1e33 times less."""
    rows, before, after = trained(
        1e36 * FEATURES, TARGETS, (1, 1, 1), num_steps=2, precision="mixed_float16"
    )
    assert [row.gradient_norm for row in rows] == [0.0, 0.0]
    assert np.isfinite([row.loss_sum for row in rows]).all()
    np.testing.assert_array_equal(after, before)


def test_clipping_bounds_the_update_and_reports_the_norm_before_it():
    free, start, _ = trained(FEATURES, TARGETS, (1, 1, 1), 1, learning_rate=1.0)
    rows, before, after = trained(
        FEATURES, TARGETS, (1, 1, 1), 1, learning_rate=1.0, gradient_clip_norm=0.01
    )
    np.testing.assert_array_equal(before, start)
    assert rows[0].gradient_norm == free[0].gradient_norm > 0.01
    # Nesterov's first step is (1 + momentum) times the gradient.
    assert 0 < np.linalg.norm(after - before) <= 0.01 * 1.9 + 1e-6


def test_many_steps_in_one_call_are_as_many_rows():
    rows, _, _ = trained(FEATURES, TARGETS, (1, 1, 1), 5, learning_rate=0.1)
    assert len(rows) == 5
    losses = [row.loss_sum for row in rows]
    assert losses == sorted(losses, reverse=True)
    assert isinstance(rows[0], StepMetrics)


def test_the_loop_ends_with_the_first_loss_that_is_not_finite():
    rows, _, _ = trained(FEATURES * 1e38, TARGETS, (1, 1, 1), 5, learning_rate=1e30)
    assert 1 <= len(rows) < 5
    assert not np.isfinite(rows[-1].loss_sum)
    assert all(np.isfinite(row.loss_sum) for row in rows[:-1])


def test_balanced_class_weights():
    weights = balanced_class_weights(np.array([6, 2, 0]))
    assert weights.tolist() == pytest.approx([8 / 18, 8 / 6, 8 / 3])
