"""Export the trained model as a SavedModel that takes files' bytes; reload and evaluate it.

Signatures: `serving_default` takes `image_bytes`, string [batch] (TensorFlow Serving and Vertex
AI send an input with such a name as {"b64": ...}); `images` takes decoded ones, float32 [batch,
height, width, 3] in [0, 1]. Both return `scores`, float32 [batch, classes], the softmax from the
highest down, and `classes`, string [batch, classes], in the same order.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.data.decode.decode_image import decode_and_resize
from trainer.data.sources.source import Source
from trainer.engine.evaluate import Evaluation
from trainer.graph.errors import reason
from trainer.graph.plain_pipeline import skip_autotune
from trainer.models.backbone import Backbone
from trainer.models.classifier import Classifier
from trainer.process.errors import ExportMismatch, UserError
from trainer.storage import api as storage

LABELS = "labels.txt"
TFLITE = "model.tflite"

# Scores closer than this may swap ranks by rounding: the order of additions depends on the batch
# size.
_TIE = 1e-3


def export(
    classifier: Classifier,
    class_names: Sequence[str],
    directory: str,
    formats: Sequence[str],
    facts: dict[str, Any],
    publishes: bool = True,
) -> None:
    """Publish `classifier` under `directory`, with its pre-processing inside.

    Args:
        classifier: with the weights to export.
        class_names: in the order of the logits; they become `assets/labels.txt`.
        directory: replaced atomically.
        formats: `saved_model` (always written, for the check) and `tflite`, a file next to it;
            `saved_model_no_webp` reads no WebP, so that TensorFlow 2.15 loads it too.
        facts: stored in the manifest.
        publishes: whether this worker is the chief; all of them save, as in a checkpoint.
    """
    with tempfile.TemporaryDirectory(prefix="graft-export-") as scratch:
        labels = Path(scratch, LABELS)
        labels.write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")
        webp = "saved_model_no_webp" not in formats
        servable = _Servable(classifier, class_names, str(labels), webp)
        saved = os.path.join(scratch, "export")
        signatures = {"serving_default": servable.from_bytes, "images": servable.from_images}
        tf.saved_model.save(servable, saved, signatures)
        if not publishes:
            return
        if "tflite" in formats:
            Path(saved, TFLITE).write_bytes(_tflite(servable))
        storage.publish(saved, directory, facts)


def check(
    directory: str,
    source: Source,
    split: str,
    expected: Evaluation,
    batch_size: int,
    skipped: Iterable[str] = (),
    raise_if_stopping: Callable[[], None] = lambda: None,
) -> None:
    """Reload the export and score `split` with it, from the images' raw bytes.

    Args:
        directory: of the export.
        source: where the images are.
        split: the split of `expected`.
        expected: the trained model's evaluation.
        batch_size: images scored at a time.
        skipped: ids of images that cannot be decoded.
        raise_if_stopping: called after every batch.

    Raises:
        ExportMismatch: another number of examples, or another accuracy.
        UserError: an image can no longer be decoded, or the export does not read its format.
    """
    manifest = storage.read_manifest(directory)
    if manifest is None:
        raise ExportMismatch(f"{directory}: the export is missing")
    try:
        with storage.local_copy(directory, manifest) as copy:
            predict = tf.saved_model.load(copy).signatures["serving_default"]
    except storage.ChecksumMismatch as mismatch:
        raise ExportMismatch(f"the export is corrupt: {mismatch}") from mismatch
    skip = tf.constant(sorted(skipped), tf.string)
    examples = source.examples(split, 0, 1, shuffle=False)
    examples = examples.filter(lambda example: not tf.reduce_any(example["id"] == skip))
    num_examples = num_correct = num_ties = 0
    for batch in skip_autotune(examples.batch(batch_size).prefetch(1)):
        try:
            outputs = predict(image_bytes=batch["encoded"])
        except tf.errors.InvalidArgumentError as error:
            refusal = _refusal(predict, batch)
            if refusal is None:
                raise
            raise refusal from error
        scores, classes = outputs["scores"].numpy(), outputs["classes"].numpy()
        labels = np.array([source.class_names[i].encode() for i in batch["label"].numpy()])
        num_examples += len(labels)
        num_correct += int((classes[:, 0] == labels).sum())
        num_ties += int((scores[:, 0] - scores[:, 1] < _TIE).sum())
        raise_if_stopping()
    expected_correct = int(np.trace(expected.confusion))
    if num_examples != expected.num_examples or abs(num_correct - expected_correct) > num_ties:
        raise ExportMismatch(
            f"{directory}: the exported model scores {num_correct} of {num_examples} images of "
            f"{split!r} correctly, the trained one {expected_correct} of {expected.num_examples}"
        )


def _refusal(predict: Callable[..., Any], batch: dict[str, tf.Tensor]) -> UserError | None:
    """Return the error of a batch that the export refuses; None if it accepts each image alone."""
    for encoded, example_id in zip(batch["encoded"], batch["id"].numpy(), strict=True):
        try:
            predict(image_bytes=encoded[None])
        except tf.errors.InvalidArgumentError as error:
            problem = f"{example_id.decode('utf-8', 'replace')} cannot be decoded: {reason(error)}"
        else:
            continue
        try:
            decode_and_resize(encoded, (1, 1))
        except tf.errors.InvalidArgumentError:
            return UserError(
                f"the image {problem}. It has changed during the run or since its features were "
                "cached; repair the file, and the same command exports"
            )
        return UserError(f"by the export, the image {problem}; save it in another format")
    return None


class _Servable(tf.Module):
    """The exported functions: from images to classes in the order of their scores."""

    def __init__(
        self, classifier: Classifier, class_names: Sequence[str], labels: str, webp: bool
    ) -> None:
        super().__init__(name="graft")
        self._classifier = classifier
        self._webp = webp
        # Objects to save with the functions must be attributes.
        self.head = classifier.head
        if isinstance(classifier.backbone, Backbone):
            self.backbone = classifier.backbone.module
        self.labels = tf.saved_model.Asset(labels)
        self._class_names = list(class_names)
        size = classifier.backbone.image_size
        self._image = tf.TensorSpec((*size, 3), tf.float32)
        self.from_bytes = tf.function(
            self._from_bytes,
            [tf.TensorSpec([None], tf.string, name="image_bytes")],
            autograph=False,
        )
        self.from_images = tf.function(
            self._from_images,
            [tf.TensorSpec([None, *size, 3], tf.float32, name="images")],
            autograph=False,
        )

    def logits(self, images: tf.Tensor) -> tf.Tensor:
        """Compute float32 [batch, classes] of float32 [batch, height, width, 3]."""
        return self._classifier(images, training=False)

    def _from_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        height, width, _ = self._image.shape
        images = tf.map_fn(
            lambda encoded: decode_and_resize(encoded, (height, width), webp=self._webp),
            image_bytes,
            fn_output_signature=self._image,
        )
        return self._from_images(images)

    def _from_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = tf.nn.softmax(self.logits(images))
        scores, order = tf.math.top_k(scores, k=len(self._class_names))
        return {"scores": scores, "classes": tf.gather(tf.constant(self._class_names), order)}


def _tflite(servable: _Servable) -> bytes:
    """Convert to TFLite: images float32 [1, height, width, 3] in [0, 1] to softmax scores."""
    image = tf.TensorSpec([1, *servable._image.shape], tf.float32, name="images")
    scores = tf.function(lambda images: tf.nn.softmax(servable.logits(images)), autograph=False)
    concrete = scores.get_concrete_function(image)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], servable)
    return converter.convert()
