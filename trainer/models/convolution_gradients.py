"""Gradients of convolutions by kernels that are fast on a CPU.

Each equals TensorFlow's own up to the order of additions. Measured on two cores with
AVX-512, EfficientNet-Lite0 and 32 images: docs/decisions/010-folded-backbones.md.
"""

from typing import Any

import tensorflow as tf

_PLAIN, _DEPTHWISE, _BIAS = "GraftConv2D", "GraftDepthwiseConv2d", "GraftBiasAdd"

# The names of an operation's attributes that its gradients share.
_SHARED = ("strides", "padding", "data_format", "dilations")


def attach(graph: tf.compat.v1.GraphDef) -> None:
    """Register these gradients for the graph's convolutions and their BiasAdds."""
    kinds = {node.name: node.op for node in graph.node}
    for node in graph.node:
        gradient = {"Conv2D": _PLAIN, "DepthwiseConv2dNative": _DEPTHWISE}.get(node.op)
        if node.op == "BiasAdd" and kinds.get(node.input[0]) == "Conv2D":
            gradient = _BIAS
        if gradient and node.attr["data_format"].s == b"NHWC":
            # https://www.tensorflow.org/api_docs/python/tf/Graph#gradient_override_map
            node.attr["_gradient_op_type"].s = gradient.encode()


@tf.RegisterGradient(_PLAIN)
def _plain(operation: tf.Operation, dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    x, weights = operation.inputs
    attributes = _attributes(operation)
    dx = tf.raw_ops.Conv2DBackpropInput(
        input_sizes=tf.shape(x), filter=weights, out_backprop=dy, **attributes
    )
    height, width, num_in, num_out = weights.shape
    # A product of matrices is faster than oneDNN's gradient, which with stride 2 may even fail
    # ("could not create a primitive descriptor for the reorder", TensorFlow 2.21).
    if (height, width, num_in) == (1, 1, x.shape[3]) and attributes["padding"] != b"EXPLICIT":
        _, down, right, _ = attributes["strides"]
        used = x if down == right == 1 else x[:, ::down, ::right]
        rows = tf.reshape(used, [-1, num_in]), tf.reshape(dy, [-1, num_out])
        return dx, tf.reshape(tf.matmul(*rows, transpose_a=True), weights.shape)
    return dx, tf.raw_ops.Conv2DBackpropFilter(
        input=x, filter_sizes=tf.shape(weights), out_backprop=dy, **attributes
    )


@tf.RegisterGradient(_BIAS)
def _bias(operation: tf.Operation, dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    # No BiasAddGrad: TensorFlow would merge it with the gradient of the weights into one kernel,
    # which takes three times as long as both.
    return dy, tf.reduce_sum(dy, [0, 1, 2])


@tf.RegisterGradient(_DEPTHWISE)
def _depthwise(operation: tf.Operation, dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    x, weights = operation.inputs
    attributes = _attributes(operation)
    dx = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
        input_sizes=tf.shape(x), filter=weights, out_backprop=dy, **attributes
    )
    size, multiplier, stride = weights.shape[:2], weights.shape[3], attributes["strides"][1]
    height, width = x.shape[1:3]
    is_common = attributes["padding"] == b"SAME" and attributes["dilations"] == [1, 1, 1, 1]
    if size == [5, 5] and multiplier == 1 and is_common and height and width:
        if stride == 1:
            return dx, _five_by_five(x, dy)
        if stride == 2 and height % 2 == width % 2 == 0:
            return dx, _five_by_five_of_stride_2(x, dy)
    return dx, tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
        input=x, filter_sizes=tf.shape(weights), out_backprop=dy, **attributes
    )


def _five_by_five(x: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    """Return the gradient, float32 [5, 5, channels, 1], of a depthwise convolution of stride 1.

    oneDNN is slow for kernels wider than 3, but not for higher ones. So the three middle columns
    are a kernel of 5x3. Reshaping two adjacent pixels to one of twice the channels, which moves
    no memory, makes a step to the next a step of two: three columns there are every other one of
    five.
    """
    _, height, width, channels = x.shape
    if width % 2:
        extra_column = [[0, 0], [0, 0], [0, 1], [0, 0]]
        x, dy = tf.pad(x, extra_column), tf.pad(dy, extra_column)
    pairs = [-1, height, (width + 1) // 2, 2 * channels]
    even = _five_by_three(tf.reshape(x, pairs), tf.reshape(dy, pairs))
    even = tf.reduce_sum(tf.reshape(even, [5, 3, 2, channels, 1]), 2)
    return tf.concat([even[:, :1], _five_by_three(x, dy), even[:, 2:]], 1)


def _five_by_five_of_stride_2(x: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    """Return the gradient for stride 2, where height and width are even.

    There the next output is two pixels away: the outer columns are those of a neighbor.
    """
    left = tf.pad(dy[:, :, 1:], [[0, 0], [0, 0], [0, 1], [0, 0]])
    right = tf.pad(dy[:, :, :-1], [[0, 0], [0, 0], [1, 0], [0, 0]])
    return tf.concat(
        [
            _five_by_three(x, left, 2)[:, 1:2],
            _five_by_three(x, dy, 2),
            _five_by_three(x, right, 2)[:, 1:2],
        ],
        1,
    )


def _five_by_three(x: tf.Tensor, dy: tf.Tensor, stride: int = 1) -> tf.Tensor:
    return tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
        input=x,
        filter_sizes=[5, 3, x.shape[3], 1],
        out_backprop=dy,
        strides=[1, stride, stride, 1],
        padding="SAME",
    )


def _attributes(operation: tf.Operation) -> dict[str, Any]:
    explicit = {"explicit_paddings": operation.get_attr("explicit_paddings")}
    return {name: operation.get_attr(name) for name in _SHARED} | explicit
