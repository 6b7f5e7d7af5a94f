"""A frozen backbone in a file of its own: folded and checked once for each model, then only read.

Loading a SavedModel, asking it what it is and folding it take seconds; reading what came of that
takes a tenth of one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from trainer.graph.saved_graph import SavedGraph
from trainer.models import backbone as backbones
from trainer.models import handles, inference_graph, model_cache
from trainer.models.backbone import Backbone

# Raised when folding, or what is kept of it, changes.
_FORMAT = 3
_CARD, _GRAPH = "card.json", "graph.pb"
_ON_CARD = ("image_size", "value_range", "num_features", "num_params")


@dataclasses.dataclass(frozen=True, eq=False)
class FrozenBackbone:
    """In the place of a Backbone that is never trained; see there.

    Attributes:
        graph: computes the features; see inference_graph.fold.
        num_params: the number of numbers in the variables that it was made of.
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
        """Computes features; see Backbone. `training` makes no difference."""
        return self._features(images)

    @functools.cached_property
    def _features(self) -> inference_graph.Features:
        with tf.init_scope():  # whatever is being traced when it is first asked for
            return inference_graph.function(self.graph, self.image_size, self.num_features)


def load(
    handle: str,
    *,
    image_size: int = 0,
    value_range: tuple[float, float] | None = None,
    cache_dir: str,
) -> FrozenBackbone | Backbone:
    """The frozen backbone that `handle` names; see backbone.load for arguments and errors.

    Returns:
        A Backbone where the model cannot be folded: it runs as it came.
    """
    path = handles.resolve(handle, cache_dir)
    digest = handles.digest(handle, path)
    asked = hashlib.sha256(f"{_FORMAT} {digest} {image_size} {value_range}".encode()).hexdigest()
    name = f"frozen-{asked[:16]}"
    made: list[FrozenBackbone | Backbone] = []

    def make() -> FrozenBackbone:
        backbone = backbones.load(
            handle,
            trainable=False,
            image_size=image_size,
            value_range=value_range,
            cache_dir=cache_dir,
        )
        made.append(backbone)
        graph = inference_graph.fold(backbone)
        if graph is None:
            raise _CannotBeFolded
        card = {name: getattr(backbone, name) for name in _ON_CARD}
        frozen = FrozenBackbone(handle=handle, digest=digest, graph=graph, **card)
        made.append(frozen)
        return frozen

    def write(directory: str) -> None:
        _write(make(), directory, asked)

    with contextlib.suppress(_CannotBeFolded):
        for use_prepared in (True, False):
            directory = model_cache.cached(cache_dir, name, write, use_prepared)
            if made:
                return made[-1]
            kept = _read(directory, asked)
            if kept is not None:
                return FrozenBackbone(handle=handle, digest=digest, **kept)
        shutil.rmtree(directory, ignore_errors=True)  # damaged since it was written
        model_cache.cached(cache_dir, name, write, use_prepared=False)
        if not made:
            make()  # it is still there: that cache can only be read
    return made[-1]


class _CannotBeFolded(Exception):
    pass


def _write(frozen: FrozenBackbone, directory: str, asked: str) -> None:
    Path(directory, _GRAPH).write_bytes(frozen.graph.to_bytes(asked))
    card = {name: getattr(frozen, name) for name in _ON_CARD}
    Path(directory, _CARD).write_text(json.dumps({**card, "sha256": _checksum(card, asked)}))


def _read(directory: str, asked: str) -> dict[str, Any] | None:
    """What `_write` left there of what was `asked` for, by field; None of anything else."""
    try:
        card = json.loads(Path(directory, _CARD).read_bytes())
        if card.pop("sha256") != _checksum(card, asked):
            return None
        graph = SavedGraph.from_bytes(Path(directory, _GRAPH).read_bytes(), asked)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if graph is None:
        return None
    pairs = {name: tuple(card[name]) for name in ("image_size", "value_range")}
    return {**card, **pairs, "graph": graph}


def _checksum(card: dict[str, Any], asked: str) -> str:
    return hashlib.sha256(json.dumps([asked, card], sort_keys=True).encode()).hexdigest()
