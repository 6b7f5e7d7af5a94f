"""Write images and histograms for TensorBoard, and decide when."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from PIL import Image

from trainer.board import confusion_image, thumbnails
from trainer.board.event_writer import SummaryWriter
from trainer.board.summary_protos import ImageSummary
from trainer.board.thumbnails import Tile
from trainer.data.sources.source import Source
from trainer.engine.evaluate import Evaluation
from trainer.engine.mistakes import Mistake
from trainer.engine.run import Run

# With more classes only the means get curves.
MOST_CURVES = 50
_NUM_TRAINING, _COLUMNS, _SIDE = 16, 4, 128


def per_class(evaluation: Evaluation) -> dict[str, float]:
    """Return mean recall and precision by tag; up to MOST_CURVES classes also those of each."""
    points: dict[str, float] = {}
    figures = evaluation.to_dict()["per_class"]
    for name in ("recall", "precision"):
        known = {c: f[name] for c, f in figures.items() if f[name] is not None}
        points[f"mean_{name}"] = float(np.mean(list(known.values())))
        if len(figures) <= MOST_CURVES:
            points |= {f"{name}/{class_name}": value for class_name, value in known.items()}
    return points


def show_training_images(run: Run, summary_writer: SummaryWriter) -> None:
    """Write some training images as the training sees them: augmented, those of the first step.

    They belong to step 1: a run that goes back to its beginning removes and rewrites them.
    """
    if not (run.config.log_images and summary_writer.writes):
        return
    with summary_writer.optional("training images"):
        is_plain = run.config.augment == "none" and not run.config.mixes
        tiles = _plain_tiles(run) if is_plain else _augmented_tiles(run)
        where = (
            "Images from all over the split" if is_plain else "The first images of the first step"
        )
        about = f"{where}, as the training sees them."
        summary_writer.write_images(
            "train", 1, {"training_images": thumbnails.grid(tiles, _COLUMNS, about)}
        )


def show_evaluation(
    run: Run, summary_writer: SummaryWriter, step: int, evaluation: Evaluation
) -> None:
    """Write the confusion matrix, the worst mistakes and, on request, the weights' histograms."""
    if not summary_writer.writes:
        return
    if run.config.log_images:
        with summary_writer.optional("confusion matrix"):
            image = confusion_image.draw(evaluation.confusion, evaluation.class_names)
            summary_writer.write_images("eval", step, {"confusion_matrix": image})
        with summary_writer.optional("worst mistakes"):
            if evaluation.worst:
                mistakes = _mistakes(run, evaluation)
                summary_writer.write_images("eval", step, {"worst_mistakes": mistakes})
    if _is_histogram_due(run, step):
        with summary_writer.optional("histograms"):
            summary_writer.write_histograms("train", step, _weights(run))


def _is_histogram_due(run: Run, step: int) -> bool:
    """Return whether this is the first evaluation of a period: a function of the step alone."""
    every = run.config.histograms_every_epochs * run.plan.steps_per_epoch
    if not every:
        return False
    before = max(0, (step - 1) // run.plan.eval_every_steps * run.plan.eval_every_steps)
    return step // every > before // every or step == run.plan.num_steps


def _weights(run: Run) -> dict[str, np.ndarray]:
    head, backbone = run.classifier.head, run.classifier.backbone
    named = [(f"{layer.name}/", v) for layer in head.layers for v in layer.trainable_variables]
    named += [("backbone/", variable) for variable in backbone.trainable_variables]
    found: dict[str, np.ndarray] = {}
    for prefix, variable in named:
        # A layer built alone names its variable `kernel`; loaded variables may share a name.
        name = variable.name.removesuffix(":0").removeprefix(prefix)
        tag = f"weights/{prefix}{name}"
        found[tag if tag not in found else f"{tag}_{len(found)}"] = variable.numpy()
    return found


def _mistakes(run: Run, evaluation: Evaluation) -> ImageSummary:
    tiles = [_mistake(run, mistake) for mistake in evaluation.worst]
    return thumbnails.grid(
        tiles,
        _COLUMNS,
        "The misclassified images whose label is given the lowest probability, p.",
    )


def _mistake(run: Run, mistake: Mistake) -> Tile:
    names = run.source.class_names
    caption = (
        names[mistake.label],
        f"predicted as {names[mistake.prediction]}",
        f"p = {math.exp(-mistake.loss):.1%}",
    )
    return Tile(_thumbnail(run.source, run.config.validation_split, mistake.example_index), caption)


@functools.lru_cache(maxsize=64)
def _thumbnail(source: Source, split: str, example_index: int) -> Image.Image:
    """Cached: most of the worst mistakes are those of the evaluation before."""
    return thumbnails.thumbnail_or_gray(source.example(split, example_index).encoded, _SIDE)


def _plain_tiles(run: Run) -> list[Tile]:
    """Return tiles from all over the split: finding those of the first step would take 0.15 s."""
    split, source = run.config.train_split, run.source
    count = source.num_examples(split)
    spread = np.linspace(0, count - 1, min(_NUM_TRAINING, count)).round().astype(np.int64)
    examples = [source.example(split, int(example_index)) for example_index in spread]
    names = source.class_names
    return [
        Tile(thumbnails.thumbnail_or_gray(e.encoded, _SIDE), (names[e.label],)) for e in examples
    ]


def _augmented_tiles(run: Run) -> list[Tile]:
    """Return tiles from the training pipeline, of as many logical shards as fill the grid."""
    pipeline = run.pipeline
    needed = -(-_NUM_TRAINING // pipeline.block)
    shards = range(min(needed, pipeline.num_logical_shards))
    batches = pipeline.training_batches(run.config.train_split, shards, 1, 0)
    batch: dict[str, Any] = next(batches.take(1).as_numpy_iterator())
    rows = zip(batch["input"], batch["target"], batch["weight"], strict=True)
    return [
        Tile(thumbnails.from_array(image, _SIDE), _target(run, target, weight))
        for image, target, weight in list(rows)[:_NUM_TRAINING]
    ]


def _target(run: Run, target: np.ndarray, weight: float) -> tuple[str, ...]:
    if not weight:
        return ("broken, weight 0",)
    order = [i for i in np.argsort(-target)[:2] if target[i] > 0]
    if len(order) == 1:
        return (run.source.class_names[order[0]],)
    return tuple(f"{target[i]:.0%} {run.source.class_names[i]}" for i in order)
