"""Store a function of tensors as a graph: traced by one process, loaded by all others.

Tracing a graph in Python takes a millisecond for two operations; loading it is fast.
"""

from __future__ import annotations

import dataclasses
import hashlib

import tensorflow as tf
from tensorflow.python.eager import context

_SIGNATURE, _OUTPUT = "function", "output"


@dataclasses.dataclass(frozen=True)
class SavedGraph:
    """A self-contained graph: no variables, tables or files.

    Attributes:
        graph: includes the functions that it calls.
        inputs: the tensors' names, in the order of the arguments.
        output: the name of the result.
    """

    graph: tf.compat.v1.GraphDef
    inputs: tuple[str, ...]
    output: str

    def __call__(self, *tensors: tf.Tensor) -> tf.Tensor:
        """Apply the graph to `tensors` in the graph that is being built."""
        for function in self.graph.library.function:  # the import adds them to the graph alone
            if not context.context().has_function(function.signature.name):
                context.context().add_function_def(function)
        (result,) = tf.graph_util.import_graph_def(
            self.graph,
            input_map=dict(zip(self.inputs, tensors, strict=True)),
            return_elements=[self.output],
            name="",
        )
        return result

    @classmethod
    def of(cls, function: tf.types.experimental.ConcreteFunction) -> SavedGraph:
        """Build the graph of a function of tensors to one tensor.

        Raises:
            ValueError: it captures tensors.
        """
        if function.captured_inputs:
            raise ValueError(f"{function} captures {len(function.captured_inputs)} tensors")
        names = tuple(tensor.name for tensor in function.inputs)
        return cls(_renamed(function.graph.as_graph_def()), names, function.outputs[0].name)

    def to_bytes(self) -> bytes:
        """Serialize as a MetaGraphDef whose one signature names inputs and output."""
        meta = tf.compat.v1.MetaGraphDef(graph_def=self.graph)
        signature = meta.signature_def[_SIGNATURE]
        for number, tensor in enumerate(self.inputs):
            signature.inputs[str(number)].name = tensor
        signature.outputs[_OUTPUT].name = self.output
        return meta.SerializeToString(deterministic=True)

    @classmethod
    def from_bytes(cls, content: bytes) -> SavedGraph:
        """Deserialize what `to_bytes` returned."""
        meta = tf.compat.v1.MetaGraphDef.FromString(content)
        signature = meta.signature_def[_SIGNATURE]
        inputs = tuple(signature.inputs[str(i)].name for i in range(len(signature.inputs)))
        return cls(meta.graph_def, inputs, signature.outputs[_OUTPUT].name)


def _renamed(graph: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """Add a content digest to the functions' names, to make them unique across processes."""
    suffix = hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest()[:16]
    functions = graph.library.function
    names = {f.signature.name: f"{f.signature.name}_{suffix}" for f in functions}
    for function in functions:
        function.signature.name = names[function.signature.name]
    for node in (*graph.node, *(node for function in functions for node in function.node_def)):
        node.op = names.get(node.op, node.op)
        for value in node.attr.values():
            called = [value.func] if value.HasField("func") else value.list.func
            for reference in called:
                reference.name = names.get(reference.name, reference.name)
    return graph
