"""A frozen backbone as one constant graph, its batch normalisations folded into the convolutions.

In inference a batch normalisation is a multiplication and an addition per channel. The convolution
before it can do both: its weights are multiplied once, here, and a bias is added, which oneDNN
computes together with the convolution (https://arxiv.org/abs/1712.05877, section 3.2). Left as it
is, the normalisation is 40 % of EfficientNet-Lite0's time on a CPU.
"""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf
from absl import logging
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from trainer.graph.saved_graph import SavedGraph
from trainer.models import handles
from trainer.models.backbone import Backbone
from trainer.models.graph_rewriting import (
    BIAS,
    WEIGHTS,
    check_same,
    fold_into_bias,
    is_depthwise,
    node_name,
    normalised_convolutions,
    pruned,
    without_detours,
)

Features = Callable[[tf.Tensor], tf.Tensor]


def function(graph: SavedGraph, image_size: tuple[int, int], num_features: int) -> Features:
    """Images, float32 [batch, height, width, 3] in [0, 1], to features, float32 [batch, n].

    The graph holds constants instead of variables, so that it runs under any strategy.
    """
    spec = tf.TensorSpec([None, *image_size, 3], tf.float32, name="images")
    return tf.compat.v1.wrap_function(
        lambda images: tf.ensure_shape(graph(images), [None, num_features]), [spec]
    )


def fold(backbone: Backbone) -> SavedGraph | None:
    """Makes the fast graph of a frozen backbone.

    Args:
        backbone: one that was loaded with `trainable=False`.

    Returns:
        A graph that computes the backbone's features, but for rounding (1e-4 of the largest
        feature). None where the rewriting fails or changes the features by more than that.

    Raises:
        ValueError: the backbone is trainable; constants could not follow its training.
    """
    if backbone.trainable_variables:
        raise ValueError("a backbone that is trained cannot be frozen into constants")
    # In a thread of its own, as it is outside of any strategy: there the variables are plain.
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(_fold, backbone).result()


def _fold(backbone: Backbone) -> SavedGraph | None:
    module = handles.import_hub().load(backbone.path)
    original = dataclasses.replace(backbone, module=module)
    spec = tf.TensorSpec([None, *backbone.image_size, 3], tf.float32, name="images")
    try:
        concrete = tf.function(original, autograph=False).get_concrete_function(spec)
        frozen = convert_variables_to_constants_v2(concrete)
        (source,), (result,) = frozen.inputs, frozen.outputs
        # Pruned before too, or what is dead would count as another use of a convolution.
        graph = pruned(without_detours(frozen.graph.as_graph_def()), result.name)
        folded = SavedGraph(pruned(_folded(graph), result.name), (source.name,), result.name)
        images = tf.random.stateless_uniform([2, *backbone.image_size, 3], [0, 0])
        fast = function(folded, backbone.image_size, backbone.num_features)
        check_same(lambda: fast(images), lambda: original(images))
    # An optimisation: whatever stands in its way, the backbone as it came is right.
    except Exception as error:
        logging.info("the backbone runs as it came: %s", error)
        return None
    return folded


def _folded(graph: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """The graph with each inference-mode FusedBatchNorm of a convolution turned into a BiasAdd."""
    nodes = {node.name: node for node in graph.node}
    for norm, convolution in normalised_convolutions(graph):
        references = (convolution.input[1], *norm.input[1:5])
        constants = [c for c in (_constant(nodes, name) for name in references) if c is not None]
        if len(constants) != len(references):
            continue
        weights, gamma, beta, mean, variance = (c.astype(np.float64) for c in constants)
        scale = gamma / np.sqrt(variance + norm.attr["epsilon"].f)
        # [height, width, in, out]; a depthwise one's outputs are [in, multiplier], flattened.
        per_output = scale.reshape(weights.shape[2:]) if is_depthwise(convolution) else scale
        for suffix, value in ((WEIGHTS, weights * per_output), (BIAS, beta - mean * scale)):
            constant = graph.node.add(name=f"{norm.name}/{suffix}", op="Const")
            constant.attr["dtype"].type = tf.float32.as_datatype_enum
            constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value.astype(np.float32)))
        fold_into_bias(norm, convolution)
    return graph


def _constant(nodes: dict[str, tf.compat.v1.NodeDef], reference: str) -> np.ndarray | None:
    node = nodes[node_name(reference)]
    return tf.make_ndarray(node.attr["value"].tensor) if node.op == "Const" else None
