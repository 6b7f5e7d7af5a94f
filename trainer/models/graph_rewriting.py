"""Common functions to rewrite a backbone's graph for inference or for training."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import tensorflow as tf

# Relative to the largest feature: folding rounds each weight once more.
_TOLERANCE = 1e-4

# A folded constant has the name of the normalization and one of these.
WEIGHTS, BIAS = "folded_weights", "folded_bias"


def without_identities(graph: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """Connect every input of the graph to the node that computes it.

    Inlined functions leave a chain of identities behind each argument, and control edges, which
    order nothing in a graph without variables.
    """
    nodes = {node.name: node for node in graph.node}
    for node in graph.node:
        references = [reference for reference in node.input if not reference.startswith("^")]
        del node.input[:]
        node.input.extend(_origin(nodes, reference) for reference in references)
    return graph


def _origin(nodes: dict[str, tf.compat.v1.NodeDef], reference: str) -> str:
    while nodes[node_name(reference)].op == "Identity":
        reference = nodes[node_name(reference)].input[0]
    return reference


def normalized_convolutions(
    graph: tf.compat.v1.GraphDef,
) -> list[tuple[tf.compat.v1.NodeDef, tf.compat.v1.NodeDef]]:
    """Find each inference-mode FusedBatchNorm whose convolution has no other use, with that one."""
    nodes = {node.name: node for node in graph.node}
    uses = Counter(node_name(reference) for node in graph.node for reference in node.input)
    found = []
    for norm in graph.node:
        convolution = nodes.get(node_name(norm.input[0])) if norm.input else None
        if (
            norm.op.startswith("FusedBatchNorm")
            and not norm.attr["is_training"].b
            and convolution is not None
            and convolution.op in ("Conv2D", "DepthwiseConv2dNative")
            and uses[convolution.name] == 1
            and convolution.attr["data_format"].s == norm.attr["data_format"].s == b"NHWC"
        ):
            found.append((norm, convolution))
    return found


def fold_into_bias(norm: tf.compat.v1.NodeDef, convolution: tf.compat.v1.NodeDef) -> None:
    """Turn `norm` into a BiasAdd; the caller adds `<norm>/folded_weights` and `_bias`."""
    convolution.input[1] = f"{norm.name}/{WEIGHTS}"
    norm.op = "BiasAdd"
    del norm.input[1:]
    norm.input.append(f"{norm.name}/{BIAS}")
    data_type = norm.attr["T"].type
    norm.attr.clear()
    norm.attr["T"].type = data_type
    norm.attr["data_format"].s = b"NHWC"


def pruned(graph: tf.compat.v1.GraphDef, result: str) -> tf.compat.v1.GraphDef:
    """Keep only the nodes that compute `result`, without the weights from before the folding."""
    nodes = {node.name: node for node in graph.node}
    reached: set[str] = set()
    pending = [node_name(result)]
    while pending:
        name = pending.pop()
        if name not in reached:
            reached.add(name)
            pending.extend(node_name(reference) for reference in nodes[name].input)
    kept = tf.compat.v1.GraphDef(versions=graph.versions, library=graph.library)
    kept.node.extend(node for node in graph.node if node.name in reached)
    return kept


def check_same(actual: Callable[[], tf.Tensor], expected: Callable[[], tf.Tensor]) -> None:
    """Check that rewritten features, float32 [n, width], equal the original's up to rounding.

    Both are computed on the CPU: on a GPU a convolution rounds its inputs to TF32's 10 bits,
    which exceeds the tolerance. Source:
    https://www.tensorflow.org/api_docs/python/tf/config/experimental/enable_tensor_float_32_execution

    Raises:
        ValueError: they differ by more than 1e-4 of the largest feature.
    """
    with tf.device("CPU:0"):
        found, known = actual().numpy(), expected().numpy()
    difference = np.abs(found - known).max() / np.abs(known).max()
    if not difference <= _TOLERANCE:
        raise ValueError(f"folded, it differs by {difference:g}")


def node_name(reference: str) -> str:
    """Return the name of the node that computes an input."""
    return reference.split(":")[0]


def is_depthwise(node: tf.compat.v1.NodeDef) -> bool:
    """Return whether a node is a depthwise convolution."""
    return node.op == "DepthwiseConv2dNative"
