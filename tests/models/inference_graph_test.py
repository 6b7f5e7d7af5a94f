"""The folded backbone computes what the backbone does, or is the backbone."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from trainer.models import backbone, inference_graph

IMAGES = np.random.default_rng(3).uniform(size=[5, 16, 16, 3]).astype(np.float32)


def load(path, network, *, trainable: bool = False) -> backbone.Backbone:
    """The network, its batch normalizations far from the identity, as a backbone."""
    rng = np.random.default_rng(1)
    for layer in network.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 2, w.shape) for w in layer.get_weights()])
    tf.saved_model.save(network, str(path))
    return backbone.load(str(path), trainable=trainable, cache_dir="unused")


def folded(network):
    graph = inference_graph.fold(network)
    return graph and inference_graph.function(graph, network.image_size, network.num_features)


def sequential(*layers) -> tf_keras.Model:
    return tf_keras.Sequential([tf_keras.Input([16, 16, 3]), *layers])


def operations(function) -> list[str]:
    return [node.op for node in function.graph.as_graph_def().node]


@pytest.mark.parametrize(
    "convolution",
    [
        tf_keras.layers.Conv2D(4, 3, strides=2, use_bias=False),
        tf_keras.layers.DepthwiseConv2D(3, use_bias=False),
        tf_keras.layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False),
    ],
    ids=["plain", "depthwise", "depthwise twice"],
)
def test_a_normalized_convolution_is_folded(tmp_path, convolution):
    network = load(
        tmp_path,
        sequential(
            convolution,
            tf_keras.layers.BatchNormalization(),
            tf_keras.layers.ReLU(6.0),
            tf_keras.layers.GlobalAveragePooling2D(),
        ),
    )
    fast = folded(network)
    assert fast is not None
    assert operations(fast).count("BiasAdd") == 1
    assert not any(op.startswith(("FusedBatchNorm", "ReadVariable")) for op in operations(fast))
    np.testing.assert_allclose(fast(IMAGES), network(IMAGES), rtol=1e-5, atol=1e-5)
    in_function = tf.function(lambda images: fast(images))
    np.testing.assert_allclose(in_function(IMAGES), network(IMAGES), rtol=1e-5, atol=1e-5)


def test_what_cannot_be_folded_stays(tmp_path):
    inputs = tf_keras.Input([16, 16, 3])
    shared = tf_keras.layers.Conv2D(4, 3, use_bias=False)(inputs)
    x = tf_keras.layers.BatchNormalization()(shared)
    x = tf_keras.layers.BatchNormalization()(tf_keras.layers.Add()([x, shared]))
    outputs = tf_keras.layers.GlobalAveragePooling2D()(x)
    network = load(tmp_path, tf_keras.Model(inputs, outputs))
    fast = folded(network)
    assert fast is not None
    assert operations(fast).count("FusedBatchNormV3") == 2
    np.testing.assert_allclose(fast(IMAGES), network(IMAGES), rtol=1e-5, atol=1e-5)


def test_the_value_range_is_part_of_the_graph(tmp_path):
    load(tmp_path, sequential(tf_keras.layers.GlobalAveragePooling2D()))
    network = backbone.load(
        str(tmp_path), trainable=False, value_range=(-1.0, 1.0), cache_dir="unused"
    )
    fast = folded(network)
    assert fast is not None
    np.testing.assert_allclose(fast(IMAGES), 2 * tf.reduce_mean(IMAGES, [1, 2]) - 1, atol=1e-6)


def test_a_graph_that_computes_something_else_is_given_up(tmp_path):
    class Noisy(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 16, 16, 3])])
        def __call__(self, images):
            # Of no seed, whatever another test has made of TensorFlow's own.
            return tf.reduce_mean(images, [1, 2]) + tf.raw_ops.RandomUniform(
                shape=[3], dtype=tf.float32
            )

    tf.saved_model.save(Noisy(), str(tmp_path))
    network = backbone.load(str(tmp_path), trainable=False, cache_dir="unused")
    assert folded(network) is None


def test_a_trainable_backbone_is_refused(tmp_path):
    network = sequential(tf_keras.layers.Conv2D(4, 3), tf_keras.layers.GlobalMaxPooling2D())
    with pytest.raises(ValueError, match="cannot be frozen"):
        inference_graph.fold(load(tmp_path, network, trainable=True))


@pytest.mark.integration
def test_the_embedded_backbone_folds_completely(cache_dir):
    network = backbone.load("efficientnet_lite0", trainable=False, cache_dir=cache_dir)
    fast = folded(network)
    assert fast is not None
    assert operations(fast).count("BiasAdd") == 49
    assert "FusedBatchNormV3" not in operations(fast)
    images = tf.random.stateless_uniform([2, 224, 224, 3], [1, 2])
    expected = network(images)
    assert np.abs(fast(images) - expected).max() < 1e-5 * np.abs(expected).max()
