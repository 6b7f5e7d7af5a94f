"""The contract of a backbone's SavedModel, and the error messages of its violations."""

from typing import Any

import tensorflow as tf

from trainer.models import handles
from trainer.process.errors import UserError

_DEFAULT_IMAGE_SIZE = 224


def load(handle: str, path: str) -> Any:
    """Load a model by contract, part one: a SavedModel in TF2's format with a callable root."""
    way_out = "Take a TF2 'feature vector' model; on TF Hub and Kaggle they are labelled so."
    try:
        names = set(tf.io.gfile.listdir(path))
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"--backbone={handle}: cannot read {path}: {reason(error)}.") from error
    if "tfhub_module.pb" in names:
        raise UserError(
            f"--backbone={handle}: {path} holds tfhub_module.pb: it is in the TF1 Hub format, "
            f"which cannot be trained with TensorFlow 2. {way_out}"
        )
    if not names & {"saved_model.pb", "saved_model.pbtxt"}:
        found = ", ".join(sorted(names)[:5]) or "nothing"
        raise UserError(
            f"--backbone={handle}: {path} is not a SavedModel: a saved_model.pb must lie "
            f"directly in it; found {found}. Save the model with tf.saved_model.save."
        )
    try:
        module = handles.import_hub().load(path)
    # A corrupt SavedModel may raise anything from KeyError to OpError.
    except Exception as error:
        raise UserError(
            f"--backbone={handle}: the SavedModel in {path} cannot be loaded: {reason(error)}. "
            f"It must be complete and readable by TensorFlow {tf.__version__}; copy or save it "
            "again."
        ) from error
    if not callable(module):
        signatures = ", ".join(sorted(getattr(module, "signatures", {}))) or "none"
        raise UserError(
            f"--backbone={handle}: the SavedModel in {path} cannot be called (its signatures: "
            f"{signatures}), as a TF1 SavedModel or one that was exported to be served. A "
            f"backbone needs `__call__`. {way_out}"
        )
    return module


def image_spec(handle: str, module: Any) -> tf.TensorSpec:
    """Check contract, part two: one argument that takes [batch, height, width, 3]."""
    functions = getattr(module.__call__, "concrete_functions", [])
    specs = []
    for function in functions:
        tensors = [
            spec
            for spec in tf.nest.flatten(function.structured_input_signature)
            if isinstance(spec, tf.TensorSpec)
        ]
        specs.append(tensors[0] if tensors else tf.TensorSpec([], tf.string))
        shape = specs[-1].shape
        is_number = specs[-1].dtype.is_floating or specs[-1].dtype.is_integer
        if is_number and shape.is_compatible_with([None, None, None, 3]):
            return specs[-1]
    found = ", ".join(sorted({f"{s.dtype.name} {s.shape}" for s in specs})) or "no traced function"
    raise UserError(
        f"--backbone={handle}: it takes {found}; a backbone takes images, "
        "[batch, height, width, 3]. Take a model for images."
    )


def image_size(handle: str, spec: tf.TensorSpec, requested: int) -> tuple[int, int]:
    rank_known = spec.shape.rank is not None
    height, width = (spec.shape[1], spec.shape[2]) if rank_known else (None, None)
    if requested and ((height or requested) != requested or (width or requested) != requested):
        raise UserError(
            f"--image_size={requested}: --backbone={handle} takes images of {height}x{width} "
            "only. Leave --image_size out, or take another backbone."
        )
    default = requested or _DEFAULT_IMAGE_SIZE
    return height or default, width or default


def reason(error: Exception) -> str:
    """Return the informative line of an error, which TensorFlow surrounds by pages of graph."""
    frame = ("Graph execution error", "Detected at node", "Stack trace for op", " ", "\t")
    lines = [
        line for line in str(error).splitlines() if line.strip() and not line.startswith(frame)
    ]
    return (lines or [type(error).__name__])[0].strip()[:300].rstrip(".: ")
