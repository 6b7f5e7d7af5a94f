"""The head and the classifier: the seed's numbers; dropout that is a function of (seed, step)."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from trainer.models import backbone
from trainer.models.classifier import Classifier, Head


@pytest.fixture
def features() -> tf.Tensor:
    return tf.random.stateless_uniform([8, 20], [3, 4])


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory) -> str:
    """Mean color times a trainable weight, plus a constant."""
    network = tf_keras.Sequential(
        [
            tf_keras.layers.GlobalAveragePooling2D(input_shape=[8, 8, 3]),
            tf_keras.layers.Dense(4, kernel_initializer="ones"),
            tf_keras.layers.BatchNormalization(),
        ]
    )
    path = str(tmp_path_factory.mktemp("model"))
    tf.saved_model.save(network, path)
    return path


def classifier(saved_model: str, *, trainable: bool) -> Classifier:
    network = backbone.load(saved_model, trainable=trainable, cache_dir="unused")
    return Classifier(network, Head(network.num_features, [5], 3, seed=1))


def test_the_seed_s_head_has_164355_parameters():
    head = Head(1280, [128], 3)
    assert [v.shape.as_list() for v in head.trainable_variables] == [
        [1280, 128],
        [128],
        [128, 3],
        [3],
    ]
    assert sum(int(np.prod(v.shape)) for v in head.trainable_variables) == 164_355


@pytest.mark.parametrize(("hidden_units", "num_variables"), [([], 2), ([7], 4), ([9, 7], 6)])
def test_any_number_of_hidden_layers(features, hidden_units, num_variables):
    head = Head(20, hidden_units, 5)
    assert len(head.trainable_variables) == num_variables
    assert [layer.units for layer in head.layers] == [*hidden_units, 5]
    logits = head(features)
    assert logits.shape == (8, 5)
    assert logits.dtype == tf.float32


def test_initial_values_are_a_function_of_the_seed():
    heads = [Head(20, [7], 5, seed=seed) for seed in (1, 1, 2)]
    first, same, other = [[v.numpy() for v in head.trainable_variables] for head in heads]
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert np.abs(first[0]).max() <= np.sqrt(6 / 27)
    assert not first[1].any()


def test_logits_are_float32_under_mixed_precision(features):
    exact = Head(20, [7], 5, seed=1)(features)
    policy = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        head = Head(20, [7], 5, dropout=0.5, seed=1)
    finally:
        tf_keras.mixed_precision.set_global_policy(policy)
    assert {v.dtype for v in head.trainable_variables} == {tf.float32}
    logits = head(features)
    assert logits.dtype == tf.float32
    assert 0 < np.abs(logits - exact).max() < 0.05
    arguments = {"seed": [1, 2], "positions": tf.range(8), "global_batch_size": 8}
    assert head(features, training=True, **arguments).dtype == tf.float32


def test_dropout_does_not_depend_on_how_the_batch_is_divided(features):
    head = Head(20, [7], 5, dropout=0.4)

    @tf.function
    def call(features, step, positions):
        seed = tf.stack([11, step])
        return head(features, True, seed=seed, positions=positions, global_batch_size=8)

    whole = call(features, tf.constant(3), tf.range(8))
    for parts in ([range(4), range(4, 8)], [[0, 2, 4, 6], [1, 3, 5, 7]], [[5], [7, 1]]):
        for part in parts:
            rows = tf.constant(list(part))
            logits = call(tf.gather(features, rows), tf.constant(3), rows)
            np.testing.assert_allclose(logits, tf.gather(whole, rows), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(call(features, tf.constant(3), tf.range(8)), whole)
    assert not np.allclose(call(features, tf.constant(4), tf.range(8)), whole)


def test_dropout_drops_its_share_and_keeps_the_mean():
    head = Head(1000, [], 1, dropout=0.25)
    head.logits.set_weights([np.eye(1000, 1), np.zeros(1)])
    rows = 4000
    arguments = {"seed": [1, 2], "positions": tf.range(rows), "global_batch_size": rows}
    logits = head(tf.ones([rows, 1000]), training=True, **arguments).numpy()
    np.testing.assert_allclose(sorted(set(logits.ravel().tolist())), [0, 4 / 3], rtol=1e-6)
    assert abs((logits == 0).mean() - 0.25) < 0.03
    assert head(tf.ones([1, 1000]), training=False) == 1


def test_each_layer_drops_others():
    head = Head(50, [50], 50, dropout=0.5)
    head.hidden[0].set_weights([np.eye(50), np.ones(50)])
    head.logits.set_weights([np.eye(50), np.zeros(50)])
    arguments = {"seed": [1, 2], "positions": tf.range(8), "global_batch_size": 8}
    logits = head(tf.ones([8, 50]), training=True, **arguments).numpy()
    # Of 2 or 0, and 1, the next layer drops all, or keeps the double.
    assert set(logits.ravel().tolist()) == {0, 2, 6}


def test_dropout_without_its_seed_is_an_error(features):
    head = Head(20, [7], 5, dropout=0.4)
    with pytest.raises(ValueError, match="dropout needs seed, positions and global_batch_size"):
        head(features, training=True)
    Head(20, [7], 5)(features, training=True)


def test_a_checkpoint_names_the_layers(tmp_path, features):
    head = Head(20, [7], 5, seed=1)
    path = tf.train.Checkpoint(head=head).write(str(tmp_path / "checkpoint"))
    names = {name for name, _ in tf.train.list_variables(path)} - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    assert names == {
        f"head/{layer}/{part}{suffix}"
        for layer in ("hidden/0", "logits")
        for part in ("kernel", "bias")
    }
    other = Head(20, [7], 5, seed=2)
    tf.train.Checkpoint(head=other).read(path).assert_consumed()
    np.testing.assert_array_equal(other(features), head(features))


def test_a_frozen_classifier(saved_model):
    frozen = classifier(saved_model, trainable=False)
    assert frozen(tf.ones([2, 8, 8, 3])).shape == (2, 3)
    assert frozen.num_trainable_params == 4 * 5 + 5 + 5 * 3 + 3
    assert frozen.num_params == frozen.num_trainable_params + 3 * 4 + 4 + 4 * 4
    assert frozen.trainable_variables == frozen.head.trainable_variables
    assert list(frozen.checkpoint_items()) == ["head"]


def test_a_fine_tuned_classifier(saved_model, tmp_path):
    images = tf.random.stateless_uniform([2, 8, 8, 3], [1, 2])
    tuned = classifier(saved_model, trainable=True)
    assert tuned.num_trainable_params == tuned.num_params - 2 * 4
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tuned(images, training=True) ** 2)
    gradients = tape.gradient(loss, tuned.trainable_variables)
    assert len(gradients) == 8
    for variable, gradient in zip(tuned.trainable_variables, gradients, strict=True):
        variable.assign_sub(0.1 * gradient)
    path = tf.train.Checkpoint(**tuned.checkpoint_items()).write(str(tmp_path / "checkpoint"))
    fresh = classifier(saved_model, trainable=True)
    assert not np.array_equal(fresh(images), tuned(images))
    tf.train.Checkpoint(**fresh.checkpoint_items()).read(path).assert_consumed()
    np.testing.assert_array_equal(fresh(images), tuned(images))


def test_the_summary_reads_as_keras_s_does(saved_model):
    lines = classifier(saved_model, trainable=False).summary().splitlines()
    assert lines[0] == f'Model: "{saved_model}"'
    assert [line.split() for line in lines[2:8]] == [
        ["Layer", "(type)", "Output", "Shape", "Param", "#"],
        ["=" * 65],
        ["backbone", "(SavedModel)", "(None,", "4)", "32"],
        ["hidden_0", "(Dense)", "(None,", "5)", "25"],
        ["logits", "(Dense)", "(None,", "3)", "18"],
        ["=" * 65],
    ]
    assert lines[8:11] == ["Total params: 75", "Trainable params: 43", "Non-trainable params: 32"]
