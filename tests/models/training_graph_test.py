"""The graph to train by computes what the backbone does, gradients too, or is given up."""

import logging

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.inputs.saved_models import save
from tests.inputs.trained_networks import (
    BATCH_NORM,
    IMAGES,
    features_and_gradients,
    gradient_errors,
    load,
    sequential,
)
from trainer.models import backbone

pytestmark = pytest.mark.integration

LAYERS = {
    "3x3": ("Conv2D", {"filters": 4, "kernel_size": 3}),
    "depthwise 3x3": ("DepthwiseConv2D", {"kernel_size": 3}),
    "depthwise 5x5": ("DepthwiseConv2D", {"kernel_size": 5}),
    "depthwise 5x5 twice": ("DepthwiseConv2D", {"kernel_size": 5, "depth_multiplier": 2}),
}


def operations(network) -> list[str]:
    return [node.op for node in network._training_graph.graph.as_graph_def().node]


@pytest.mark.parametrize(
    ("padding", "strides", "size"), [("same", 1, 15), ("same", 2, 16), ("valid", 2, 15)]
)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_normalized_convolution(tmp_path, layer, padding, strides, size):
    assert_folded(tmp_path, layer, padding, strides, size)


def assert_folded(tmp_path, layer, padding, strides, size):
    name, options = LAYERS[layer]
    convolution = getattr(tf_keras.layers, name)(
        strides=strides, padding=padding, use_bias=False, **options
    )
    images = tf.random.stateless_uniform([5, size, size, 3], [3, 4])
    layers = (convolution, BATCH_NORM(), tf_keras.layers.ReLU(6.0))
    network = load(tmp_path, sequential(*layers, size=size))
    assert network._training_graph is not None
    assert operations(network).count("BiasAdd") == 1
    assert not any(op.startswith(("FusedBatchNorm", "ReadVar")) for op in operations(network))
    assert max(gradient_errors(network, images)) < 1e-4


@pytest.mark.parametrize(
    ("padding", "strides", "size"),
    [("same", 1, 15), ("same", 2, 15), ("same", 2, 16), ("valid", 2, 16)],
)
def test_a_convolution_of_one_pixel(tmp_path, padding, strides, size):
    assert_one_pixel(tmp_path, padding, strides, size)


def assert_one_pixel(tmp_path, padding, strides, size):
    """Against stride 1 on the pixels it takes: TensorFlow's own gradient of stride 2 may fail."""

    def network(path, size, strides):
        convolution = tf_keras.layers.Conv2D(4, 1, strides, padding, use_bias=False)
        return load(tmp_path / path, sequential(convolution, BATCH_NORM(), size=size))

    images = tf.random.stateless_uniform([5, size, size, 3], [3, 4])
    taken = images[:, ::strides, ::strides]
    features, gradients = features_and_gradients(
        network("whole", size, strides), images, training=True
    )
    expected, expected_gradients = features_and_gradients(
        network("taken", taken.shape[1], 1), taken, training=False
    )
    np.testing.assert_allclose(features, expected, rtol=1e-4)
    for gradient, expected in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4)


def test_a_normalization_without_scale_and_one_that_cannot_be_folded(tmp_path):
    inputs = tf_keras.Input([16, 16, 3])
    shared = tf_keras.layers.Conv2D(4, 3, dilation_rate=2, use_bias=False)(inputs)
    x = BATCH_NORM()(shared)
    x = tf_keras.layers.Conv2D(4, 1)(tf_keras.layers.Add()([x, shared]))
    x = tf_keras.layers.DepthwiseConv2D(5, padding="same", dilation_rate=2, use_bias=False)(x)
    x = BATCH_NORM(scale=False)(x)
    outputs = tf_keras.layers.GlobalAveragePooling2D()(x)
    network = load(tmp_path, tf_keras.Model(inputs, outputs), value_range=(-1.0, 1.0))
    assert network._training_graph is not None
    assert operations(network).count("FusedBatchNormV3") >= 1
    assert max(gradient_errors(network, IMAGES)) < 1e-4


def test_the_features_follow_the_variables(tmp_path):
    network = load(tmp_path, sequential(tf_keras.layers.Conv2D(4, 3, use_bias=False), BATCH_NORM()))
    before = network(IMAGES, training=True)
    for variable in network.variables:
        variable.assign(variable * 1.5 + 0.1)
    after = network(IMAGES, training=True)
    assert np.abs(after - before).max() > 0.1
    np.testing.assert_allclose(after, network(IMAGES), rtol=1e-4, atol=1e-5)


def test_in_training_mode_the_backbone_runs_as_it_came(tmp_path):
    network = sequential(tf_keras.layers.Conv2D(4, 3), BATCH_NORM())
    assert load(tmp_path, network, batch_norm_training=True)._training_graph is None


def test_a_graph_that_computes_something_else_is_given_up(tmp_path, caplog):
    """Large numbers that cancel: the normalization, once folded, rounds at another place."""
    kernel = tf.Variable(tf.random.stateless_uniform([1, 1, 3, 4], [5, 6]))
    scale, offset, variance = (tf.Variable(tf.fill([4], x)) for x in (0.7, 0.0, 0.3))
    mean = tf.Variable(1e6 * tf.reduce_sum(kernel, [0, 1, 2]))

    def cancelling(images, training):
        maps = tf.nn.conv2d(images + 1e6, kernel, 1, "VALID")
        maps, *_ = tf.compat.v1.nn.fused_batch_norm(
            maps, scale, offset, mean, variance, is_training=False
        )
        return tf.reduce_mean(maps, [1, 2])

    handle = save(
        tmp_path,
        cancelling,
        tf.TensorSpec([None, 16, 16, 3]),
        variables=[kernel, scale, offset, mean, variance],
    )
    caplog.set_level(logging.INFO, "absl")
    network = backbone.load(handle, trainable=True, cache_dir="unused")
    assert network._training_graph is None
    assert "trained unfolded: folded, it differs by" in caplog.text
    assert network(IMAGES, training=True).shape == (5, 4)


def test_the_embedded_backbone(cache_dir):
    network = backbone.load("efficientnet_lite0", trainable=True, cache_dir=cache_dir)
    assert network._training_graph is not None
    assert operations(network).count("BiasAdd") == 49
    assert "FusedBatchNormV3" not in operations(network)
    errors = gradient_errors(network, tf.random.stateless_uniform([2, 224, 224, 3], [1, 2]))
    assert np.median(errors) < 1e-4
    # A rounding that carries one ReLU6 over its edge changes the gradients of all layers below.
    # The original's own change by 2e-3 where the images are multiplied by 1 + 1e-6.
    assert max(errors) < 5e-3
