"""Write the files of TensorBoard's HPARAMS page and of its projector."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from trainer.board import hparams, projector, thumbnails
from trainer.data.decode.decode_image import decode_and_resize
from trainer.engine.run import Run
from trainer.process.errors import GraftError
from trainer.storage import api as storage
from trainer.workdir import paths

_SIDE, _BATCH = 48, 32


def begin(run: Run) -> None:
    """Write the settings of a run before it trains."""
    _optional(run, "settings", lambda: _write(run, "", hparams.begin(run)))


def end(run: Run) -> None:
    """Write the features of the validation split, and mark the run as finished."""
    if not run.workers.is_chief:
        return
    _optional(run, "validation features", lambda: _write_features(run))
    _optional(run, "end of the run", lambda: _write(run, "", hparams.end()))


def _write_features(run: Run) -> None:
    split, source = run.config.validation_split, run.source
    count = min(run.config.embedding_points, source.num_examples(split))
    if not count:
        return
    # Over the whole split: its order may be by class.
    spread = np.linspace(0, source.num_examples(split) - 1, count).round().astype(np.int64)
    examples = {int(index): source.example(split, int(index)) for index in spread}
    if run.evaluation_features is not None:
        table = run.evaluation_features.table
        kept = [index for index in examples if table.is_good[index]]
        features = table.rows(tf.constant(kept, tf.int64)).numpy()
    else:
        kept, features = _compute(run, {p: e.encoded for p, e in examples.items()})
    if not kept or not np.isfinite(features).all():
        return
    shown = [examples[index] for index in kept]
    files = projector.files(
        features,
        [source.class_names[example.label] for example in shown],
        [example.id for example in shown],
        [thumbnails.thumbnail_or_gray(example.encoded, _SIDE) for example in shown],
    )
    _write(run, "eval", files)


def _compute(run: Run, encoded: Mapping[int, bytes]) -> tuple[list[int], np.ndarray]:
    """Compute features of images by index, leaving out those that cannot be decoded."""
    backbone, strategy = run.classifier.backbone, run.strategy
    images: dict[int, tf.Tensor] = {}
    decode = tf.function(lambda e: decode_and_resize(e, backbone.image_size), autograph=False)
    for index, content in encoded.items():
        try:
            images[index] = decode(tf.constant(content))
        except tf.errors.InvalidArgumentError:
            continue
    step = tf.function(lambda batch: strategy.run(backbone, (batch,)), autograph=False)
    rows: list[np.ndarray] = []
    kept: Sequence[int] = list(images)
    for begin in range(0, len(kept), _BATCH):
        batch = [images[index] for index in kept[begin : begin + _BATCH]]
        padding = [tf.zeros_like(batch[0])] * (_BATCH - len(batch))
        # Every replica computes the same, since the variables can be read only in replica context.
        outputs = strategy.experimental_local_results(step(tf.stack([*batch, *padding])))[0]
        rows.append(outputs.numpy()[: len(batch)])
    return list(kept), np.concatenate(rows) if rows else np.zeros([0, 0], np.float32)


def _write(run: Run, below: str, files: Mapping[str, bytes]) -> None:
    directory = paths.part(run.config.workdir, "logs")
    for name, content in files.items():
        storage.write_atomically(storage.join(directory, *filter(None, [below, name])), content)


def _optional(run: Run, what: str, write: Callable[[], None]) -> None:
    """Turn an error of `write` into a warning; errors of a bucket are raised, as everywhere."""
    try:
        write()
    except Exception as error:
        if isinstance(error, GraftError) and storage.is_remote(run.config.workdir):
            raise
        first = (str(error).splitlines() or [""])[0]
        run.reporter.warn(f"TensorBoard gets no {what}: {type(error).__name__}: {first}")
