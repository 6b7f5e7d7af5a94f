"""The gradient of a batch normalization with fixed statistics, for GPUs.

TensorFlow's has no deterministic kernel there: with op determinism it raises
`UnimplementedError` (https://www.tensorflow.org/api_docs/python/tf/config/experimental/enable_op_determinism).
"""

import tensorflow as tf

_FROZEN = "GraftFrozenBatchNorm"


def attach(graph: tf.compat.v1.GraphDef) -> None:
    """Register this gradient for the graph's inference-mode batch normalizations."""
    for node in graph.node:
        if node.op.startswith("FusedBatchNorm") and not node.attr["is_training"].b:
            # https://www.tensorflow.org/api_docs/python/tf/Graph#gradient_override_map
            node.attr["_gradient_op_type"].s = _FROZEN.encode()


@tf.RegisterGradient(_FROZEN)
def _frozen(operation: tf.Operation, dy: tf.Tensor, *_: object) -> tuple[tf.Tensor | None, ...]:
    """Differentiate y = gamma * normed + beta, normed = (x - mean) / sqrt(variance + epsilon)."""
    x, gamma, _, mean, variance = operation.inputs
    is_last = operation.get_attr("data_format") == b"NHWC"
    shape, others = ([1, 1, 1, -1], [0, 1, 2]) if is_last else ([1, -1, 1, 1], [0, 2, 3])
    inverse = tf.math.rsqrt(variance + operation.get_attr("epsilon"))
    scale = tf.cast(tf.reshape(gamma * inverse, shape), dy.dtype)
    dy32, x32 = tf.cast(dy, gamma.dtype), tf.cast(x, gamma.dtype)
    normed = (x32 - tf.reshape(mean, shape)) * tf.reshape(inverse, shape)
    return dy * scale, tf.reduce_sum(dy32 * normed, others), tf.reduce_sum(dy32, others), None, None
