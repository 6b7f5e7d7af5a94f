"""Small SavedModels, as a backbone's handle may name them."""

import pathlib
from typing import Any

import tensorflow as tf

from trainer.models import backbone


def save(path: pathlib.Path, call, *specs, variables=None, trainable=None) -> str:
    """A SavedModel whose root computes `call`; traced for `specs` and both training modes."""

    class Root(tf.Module):
        variables: Any = None
        trainable_variables: Any = None

    root = Root()
    root.variables = variables or []
    root.trainable_variables = variables if trainable is None else trainable

    @tf.function
    def traced(inputs, training=False):
        return call(inputs, training)

    for spec in specs:
        for training in (False, True):
            traced.get_concrete_function(spec, training=training)
    root.__call__ = traced
    tf.saved_model.save(root, str(path))
    return str(path)


IMAGES = tf.TensorSpec([None, 8, 6, 3], tf.float32, name="inputs")


def tiny(path: pathlib.Path, spec=IMAGES) -> str:
    """Mean color times a trainable weight, and 1 where it runs in training mode."""
    weight = tf.Variable([1.0, 2.0, 3.0], name="weight")
    calls = tf.Variable(0, trainable=False, name="calls")

    def call(images, training):
        mode = tf.fill([tf.shape(images)[0], 1], float(training))
        colors = tf.reduce_mean(tf.cast(images, tf.float32), [1, 2])
        return tf.concat([colors * weight, mode], axis=1)

    return save(path, call, spec, variables=[weight, calls], trainable=[weight])


def load(handle: str, cache_dir: str = "unused", *, trainable: bool = False, **options):
    return backbone.load(handle, trainable=trainable, cache_dir=cache_dir, **options)
