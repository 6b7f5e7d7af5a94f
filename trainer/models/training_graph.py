"""A backbone for fine-tuning, its frozen batch normalizations folded into the convolutions.

With fixed statistics a batch normalization is a multiplication and an addition per channel, in
training as in inference. `inference_graph` multiplies the convolution's weights once; here each
step multiplies them, so that the features stay a function of the same variables, and the gradients
pass through the small products instead of through images.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from absl import logging
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from trainer.models import convolution_gradients, norm_gradient
from trainer.models.graph_rewriting import (
    BIAS,
    WEIGHTS,
    check_same,
    fold_into_bias,
    is_depthwise,
    node_name,
    normalized_convolutions,
    pruned,
    without_identities,
)

# From images and the values of the variables, in order, to features.
Features = Callable[..., tf.Tensor]


def rewrite(
    features: Callable[[tf.Tensor], tf.Tensor],
    variables: Sequence[tf.Variable],
    image_size: tuple[int, int],
) -> Features | None:
    """Rewrite the graph of a backbone that is trained on CPUs or GPUs.

    Args:
        features: images, float32 [batch, height, width, 3], to features, float32 [batch, n]; not
            in training mode. It reads only `variables`.
        variables: not mirrored.
        image_size: (height, width).

    Returns:
        A function of images and the values of `variables` that computes the same up to rounding
        (1e-4 of the largest feature). None where the rewriting fails, changes the features by
        more, or has no benefit, as on TPUs.
    """
    kinds = {device.device_type for device in tf.config.list_logical_devices()}
    if kinds - {"CPU", "GPU"}:
        return None
    spec = tf.TensorSpec([None, *image_size, 3], tf.float32, name="images")
    images = tf.random.stateless_uniform([2, *image_size, 3], [0, 0])
    try:
        concrete = tf.function(features, autograph=False).get_concrete_function(spec)
        attach = norm_gradient.attach if "GPU" in kinds else convolution_gradients.attach
        fast = _rewritten(concrete, variables, spec, attach)
        values = (variable.read_value() for variable in variables)
        check_same(lambda: fast(images, *values), lambda: concrete(images))
    # An optimization: if it fails, the unchanged backbone is correct.
    except Exception as error:
        logging.info("the backbone is trained unfolded: %s", error)
        return None
    return fast


def _rewritten(
    concrete: Any,
    variables: Sequence[tf.Variable],
    spec: tf.TensorSpec,
    attach_gradients: Callable[[tf.compat.v1.GraphDef], None],
) -> Features:
    frozen = convert_variables_to_constants_v2(concrete)
    (source,), (result,) = frozen.inputs, frozen.outputs
    graph = pruned(without_identities(frozen.graph.as_graph_def()), result.name)
    # A frozen variable has become a constant with the name of the function's argument.
    index = {id(variable.handle): i for i, variable in enumerate(variables)}
    index_of = {
        argument.op.name: index[id(handle)]
        for handle, argument in concrete.graph.captures
        if argument.dtype == tf.resource
    }
    norms = []
    for norm, convolution in normalized_convolutions(graph):
        references = [node_name(name) for name in (convolution.input[1], *norm.input[1:5])]
        norms.append((norm.name, references, norm.attr["epsilon"].f, is_depthwise(convolution)))
        fold_into_bias(norm, convolution)
    attach_gradients(graph)
    constants = {
        node.name: tf.make_ndarray(node.attr["value"].tensor)
        for node in graph.node
        if node.op == "Const" and any(node.name in references for _, references, *_ in norms)
    }

    def call(images: tf.Tensor, *values: tf.Tensor) -> tf.Tensor:
        known = {**constants, **{name: values[i] for name, i in index_of.items()}}
        replaced = {source.name: images, **known}
        for name, references, epsilon, depthwise in norms:
            weights, gamma, beta, mean, variance = (known[name] for name in references)
            scale = gamma * tf.math.rsqrt(variance + epsilon)
            # [height, width, in, out]; a depthwise one's outputs are [in, multiplier], flattened.
            per_output = tf.reshape(scale, weights.shape[2:]) if depthwise else scale
            replaced[f"{name}/{WEIGHTS}"] = weights * per_output
            replaced[f"{name}/{BIAS}"] = beta - mean * scale
        return _imported(graph, replaced, result.name)

    return tf.compat.v1.wrap_function(
        call, [spec, *(tf.TensorSpec(v.shape, v.dtype) for v in variables)]
    )


def _imported(
    graph: tf.compat.v1.GraphDef, replaced: dict[str, tf.Tensor], result: str
) -> tf.Tensor:
    """Import the graph with the nodes `replaced` by these values; return its result."""
    kept = tf.compat.v1.GraphDef(versions=graph.versions, library=graph.library)
    replaced = {node_name(name): value for name, value in replaced.items()}
    kept.node.extend(node for node in graph.node if node.name not in replaced)
    used = {node_name(reference) for node in kept.node for reference in node.input}
    (features,) = tf.graph_util.import_graph_def(
        kept,
        input_map={name: value for name, value in replaced.items() if name in used},
        return_elements=[result],
        name="",
    )
    return features
