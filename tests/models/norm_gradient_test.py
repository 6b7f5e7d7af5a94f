"""The gradient that takes the place of TensorFlow's on GPUs, in numbers, without a GPU."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.inputs.trained_networks import (
    BATCH_NORM,
    IMAGES,
    gradient_errors,
    load,
    sequential,
)
from trainer.models import norm_gradient

EPSILON = 0.01
SHAPES = {"NHWC": [5, 3, 2, 4], "NCHW": [5, 4, 3, 2]}


@pytest.mark.parametrize("data_format", SHAPES)
@pytest.mark.parametrize("kind", ["FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"])
def test_it_is_the_formulas(kind, data_format):
    rng = np.random.default_rng(1)
    x, dy = rng.normal(size=(2, *SHAPES[data_format])).astype(np.float32)
    gamma, beta, mean, variance = rng.uniform(0.5, 2, (4, 4)).astype(np.float32)
    with tf.Graph().as_default() as made:
        inputs = [tf.constant(value) for value in (x, gamma, beta, mean, variance)]
        options = {"epsilon": EPSILON, "data_format": data_format, "is_training": False}
        getattr(tf.raw_ops, kind)(
            **dict(zip(("x", "scale", "offset", "mean", "variance"), inputs, strict=True)),
            **options,
            name="norm",
        )
        graph = made.as_graph_def()
    norm_gradient.attach(graph)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        names = [f"{value.op.name}:0" for value in inputs]
        y, *own = tf.import_graph_def(graph, return_elements=["norm:0", *names], name="")
        gradients = session.run(tf.gradients(y, own[:3], grad_ys=tf.constant(dy)))
    for gradient, expected in zip(
        gradients, expected_gradients(x, dy, gamma, mean, variance, data_format), strict=True
    ):
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


def expected_gradients(x, dy, gamma, mean, variance, data_format):
    shape = [1, 1, 1, 4] if data_format == "NHWC" else [1, 4, 1, 1]
    others = tuple(axis for axis in range(4) if shape[axis] == 1)
    deviation = np.sqrt(variance.astype(np.float64) + EPSILON).reshape(shape)
    normed = (x - mean.reshape(shape)) / deviation
    return gamma.reshape(shape) / deviation * dy, (dy * normed).sum(others), dy.sum(others)


def test_one_in_training_mode_keeps_its_own():
    graph = tf.compat.v1.GraphDef()
    node = graph.node.add(name="norm", op="FusedBatchNormV3")
    node.attr["is_training"].b = True
    norm_gradient.attach(graph)
    assert "_gradient_op_type" not in node.attr


@pytest.mark.parametrize("first", [True, False], ids=["foldable", "not foldable"])
def test_with_a_pretended_gpu_no_gradient_is_left_that_it_lacks(tmp_path, monkeypatch, first):
    """Only the choice of the gradient is a GPU's here, computed is on the CPU."""
    devices = [*tf.config.list_logical_devices(), tf.config.LogicalDevice("/device:GPU:0", "GPU")]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: devices)
    layers = [tf_convolution(), BATCH_NORM()]
    network = load(tmp_path, sequential(*(layers if first else layers[::-1])))
    kinds = gradient_operations(network)
    assert "Conv2DBackpropFilter" in kinds
    assert not [kind for kind in kinds if kind.startswith("FusedBatchNormGrad")]
    assert max(gradient_errors(network, IMAGES)) < 1e-4


def tf_convolution():
    return tf_keras.layers.Conv2D(4, 3, use_bias=False)


def gradient_operations(network):
    @tf.function
    def gradients(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(network(images, training=True))
        return tape.gradient(loss, network.trainable_variables)

    graph = gradients.get_concrete_function(IMAGES).graph.as_graph_def()
    return {node.op for nodes in (graph, *graph.library.function) for node in nodes_of(nodes)}


def nodes_of(graph):
    return graph.node if hasattr(graph, "node") else graph.node_def
