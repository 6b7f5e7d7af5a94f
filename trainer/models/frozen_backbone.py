"""A frozen backbone in its own file: folded and checked once for each model, then only read.

Loading, checking and folding a SavedModel takes seconds; reading the result takes 0.1 s.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from trainer.graph.graph_cache import load_or_trace
from trainer.graph.saved_graph import SavedGraph
from trainer.models import backbone as backbones
from trainer.models import handles, inference_graph
from trainer.models.backbone import Backbone

# Increased when folding, or the cached file, changes.
_FORMAT = 4
_FACTS = ("image_size", "value_range", "num_features", "num_params")


@dataclasses.dataclass(frozen=True, eq=False)
class FrozenBackbone:
    """Replaces a Backbone that is never trained; see there.

    Attributes:
        graph: computes the features; see inference_graph.fold.
        num_params: the number of parameters of the original variables.
    """

    handle: str
    digest: str
    graph: SavedGraph
    image_size: tuple[int, int]
    value_range: tuple[float, float]
    num_features: int
    num_params: int
    trainable_variables: tuple[tf.Variable, ...] = ()
    regularization_losses: tuple[Callable[[], tf.Tensor], ...] = ()

    def __call__(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Compute features; see Backbone. `training` has no effect."""
        return self._features(images)

    @functools.cached_property
    def _features(self) -> inference_graph.Features:
        with tf.init_scope():  # outside of any function that is being traced
            return inference_graph.function(self.graph, self.image_size, self.num_features)


def load(
    handle: str,
    *,
    image_size: int = 0,
    value_range: tuple[float, float] | None = None,
    cache_dir: str,
) -> FrozenBackbone | Backbone:
    """Load the frozen backbone that `handle` names; see backbone.load for arguments and errors.

    Returns:
        A Backbone where the model cannot be folded: it runs unchanged.
    """
    path = handles.resolve(handle, cache_dir)
    digest = handles.digest(handle, path)
    asked = hashlib.sha256(f"{_FORMAT} {digest} {image_size} {value_range}".encode()).hexdigest()

    def fold() -> tuple[SavedGraph, dict[str, Any]]:
        backbone = backbones.load(
            handle,
            trainable=False,
            image_size=image_size,
            value_range=value_range,
            cache_dir=cache_dir,
        )
        graph = inference_graph.fold(backbone)
        if graph is None:
            raise _CannotBeFolded(backbone)
        return graph, {fact: getattr(backbone, fact) for fact in _FACTS}

    try:
        graph, facts = load_or_trace(f"{cache_dir}/frozen-{asked[:16]}", fold)
    except _CannotBeFolded as error:
        return error.backbone
    values: Any = (tuple(v) if isinstance(v := facts[fact], list) else v for fact in _FACTS)
    return FrozenBackbone(handle, digest, graph, *values)


class _CannotBeFolded(Exception):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
