"""A frozen backbone in a file of its own: folded and checked once for each model, then only read.

Loading a SavedModel, asking it what it is and folding it take seconds; reading what came of that
takes a tenth of one. Nothing is read at all by a run that has its features already.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from trainer.graph_file import SavedGraph
from trainer.models import backbone as backbones
from trainer.models import handles, inference_graph
from trainer.models.backbone import Backbone

# Raised when folding changes.
_FORMAT = 2
_CARD, _GRAPH = "card.json", "graph.pb"


@dataclasses.dataclass(frozen=True, eq=False)
class FrozenBackbone:
    """In the place of a Backbone that is never trained; see there.

    Attributes:
        directory: where its graph lies.
        num_params: the number of numbers in the variables that it was made of.
    """

    handle: str
    digest: str
    directory: str
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
        graph = SavedGraph.from_bytes(Path(self.directory, _GRAPH).read_bytes())
        assert graph is not None, "it was sound when it was found"
        with tf.init_scope():  # whatever is being traced when it is first asked for
            return inference_graph.function(graph, self.image_size, self.num_features)


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
    unfolded: list[Backbone] = []

    def write(directory: str) -> None:
        backbone = backbones.load(
            handle,
            trainable=False,
            image_size=image_size,
            value_range=value_range,
            cache_dir=cache_dir,
        )
        graph = inference_graph.fold(backbone)
        if graph is None:
            unfolded.append(backbone)
            raise _CannotBeFolded
        content = graph.to_bytes()
        Path(directory, _GRAPH).write_bytes(content)
        card = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "image_size": backbone.image_size,
            "value_range": backbone.value_range,
            "num_features": backbone.num_features,
            "num_params": backbone.num_params,
        }
        Path(directory, _CARD).write_text(json.dumps(card))

    try:
        directory = handles.cached(cache_dir, name, write)
        card = _sound_card(directory)
        if card is None:  # damaged since it was written
            shutil.rmtree(directory, ignore_errors=True)
            directory = handles.cached(cache_dir, name, write, use_prepared=False)
            card = json.loads(Path(directory, _CARD).read_text())
    except _CannotBeFolded:
        return unfolded[0]
    return FrozenBackbone(
        handle=handle,
        digest=digest,
        directory=directory,
        image_size=tuple(card["image_size"]),
        value_range=tuple(card["value_range"]),
        num_features=card["num_features"],
        num_params=card["num_params"],
    )


class _CannotBeFolded(Exception):
    pass


def _sound_card(directory: str) -> dict[str, Any] | None:
    try:
        card = json.loads(Path(directory, _CARD).read_text())
        content = Path(directory, _GRAPH).read_bytes()
    except (OSError, ValueError):
        return None
    return card if hashlib.sha256(content).hexdigest() == card.get("sha256") else None
