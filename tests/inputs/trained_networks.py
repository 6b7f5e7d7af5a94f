"""Small convolutional nets as trainable backbones, and how far their gradients are off."""

import numpy as np
import tensorflow as tf
import tf_keras

from tests.inputs.saved_models import save
from trainer.models import backbone

IMAGES = tf.random.stateless_uniform([5, 16, 16, 3], [3, 4])
BATCH_NORM = tf_keras.layers.BatchNormalization


def load(path, network, **options) -> backbone.Backbone:
    """The network, its batch normalizations far from the identity, as a trainable backbone."""
    rng = np.random.default_rng(1)
    for layer in network.layers:
        low = 0.5 if isinstance(layer, BATCH_NORM) else -1
        layer.set_weights([rng.uniform(low, 2, w.shape) for w in layer.get_weights()])
    handle = save(
        path,
        lambda images, training: network(images, training=training),
        tf.TensorSpec([None, *network.input_shape[1:]]),
        variables=network.variables,
        trainable=network.trainable_variables,
    )
    return backbone.load(handle, trainable=True, cache_dir="unused", **options)


def sequential(*layers, size: int = 16) -> tf_keras.Model:
    pool = tf_keras.layers.GlobalAveragePooling2D()
    return tf_keras.Sequential([tf_keras.Input([size, size, 3]), *layers, pool])


def features_and_gradients(network, images, *, training: bool):
    """Both of a sum with weights of either sign, so that no feature can hide another's error."""

    @tf.function
    def compute(images):
        with tf.GradientTape() as tape:
            features = network(images, training=training)
            loss = tf.reduce_sum(
                features * tf.random.stateless_normal([len(images), network.num_features], [5, 6])
            )
        return features, tape.gradient(loss, network.trainable_variables)

    return compute(images)


def gradient_errors(network, images) -> list[float]:
    """Relative to the norm of each; without `training` the backbone runs as it came."""
    features, gradients = features_and_gradients(network, images, training=True)
    expected_features, expected_gradients = features_and_gradients(network, images, training=False)
    assert np.abs(features - expected_features).max() < 1e-4 * np.abs(expected_features).max()
    return [
        float(np.linalg.norm(gradient - expected) / np.linalg.norm(expected))
        for gradient, expected in zip(gradients, expected_gradients, strict=True)
    ]
