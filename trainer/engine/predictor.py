"""Classify image files by an exported model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import tensorflow as tf

from trainer.graph.errors import reason
from trainer.process.errors import UserError


class Prediction(NamedTuple):
    """One image's classes.

    Attributes:
        path: the file, as found.
        classes: from the most to the least likely.
        scores: their softmax scores, in the same order.
        error: why the image could not be classified, or empty.
    """

    path: str
    classes: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    error: str = ""


def classify(model: str, paths: Sequence[str], batch_size: int) -> Iterator[Prediction]:
    """Classify the files at `paths`, in their order, with the export in directory `model`.

    Raises:
        UserError: `model` cannot be loaded.
    """
    try:
        signature = tf.saved_model.load(model).signatures["serving_default"]
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise UserError(f"--model={model}: not an export of Graft, or corrupt ({error})") from error

    def score(batch: Sequence[str], contents: Sequence[bytes]) -> list[Prediction]:
        try:
            outputs = signature(image_bytes=tf.constant(contents))
        except tf.errors.InvalidArgumentError as error:
            if len(batch) == 1:
                return [Prediction(batch[0], error=reason(error))]
            # One of them is broken: classify each alone.
            return [
                score([path], [content])[0] for path, content in zip(batch, contents, strict=True)
            ]
        return [
            Prediction(path, tuple(c.decode() for c in classes), tuple(map(float, scores)))
            for path, classes, scores in zip(
                batch,
                outputs["classes"].numpy().tolist(),
                outputs["scores"].numpy().tolist(),
                strict=True,
            )
        ]

    for start in range(0, len(paths), batch_size):
        batch = paths[start : start + batch_size]
        contents = []
        for path in batch:
            with open(path, "rb") as stream:
                contents.append(stream.read())
        yield from score(batch, contents)
