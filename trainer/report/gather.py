"""Collect what the page of a run shows from its data, its features and its last evaluation."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.data.feature_pipeline import FeatureTable
from trainer.data.sources.listed_source import ListedSource
from trainer.engine.evaluate import Evaluation
from trainer.engine.run import Run
from trainer.engine.scored_examples import ScoredExamples
from trainer.report import duplicates, examples, mislabels, pictures
from trainer.report.evidence import (
    ExampleKey,
    NearDuplicate,
    ReportData,
    ReportImage,
    Split,
    SuspectLabel,
)
from trainer.report.mislabels import LabeledFeatures
from trainer.storage import api as storage
from trainer.workdir import curves
from trainer.workdir import paths as parts

# Larger splits are not read again for the report: it would take more than a second or two.
_MAX_READ = 20_000
# Each is read on its own, in a millisecond or two.
_MAX_SINGLE_READS = 500
# Multiplications: some seconds on two cores.
_MAX_PRODUCTS = 5e11


def gather(run: Run, evaluation: Evaluation, metrics: dict[str, Any]) -> ReportData:
    """Collect all that the page of a run shows; `metrics` are those of `metrics.json`.

    Raises:
        Preempted: see Run.raise_if_stopping.
    """
    config, source = run.config, run.source
    ids, hashes = pictures.identities(source, config.validation_split, run.raise_if_stopping)
    remarks: dict[str, str] = {}
    near_duplicates, remarks["duplicates"] = _near_duplicates(run, evaluation, hashes)
    suspect_labels, remarks["mislabels"] = _suspect_labels(run, evaluation)
    points, remarks["curves"] = curves.read(parts.part(config.workdir, "logs"))
    evidence = ReportData(
        workdir=config.workdir,
        metrics=metrics,
        settings=json.loads(storage.read_bytes(storage.join(config.workdir, "config.json"))),
        curves=points,
        splits=_splits(run, evaluation, metrics),
        scored=evaluation.scored,
        ids=ids,
        near_duplicates=near_duplicates,
        suspect_labels=suspect_labels,
        remarks=remarks,
    )
    shown = examples.indices_to_show(evidence, config.validation_split, config.train_split)
    return dataclasses.replace(evidence, images=_images(run, shown))


def _splits(run: Run, evaluation: Evaluation, metrics: dict[str, Any]) -> list[Split]:
    config, source = run.config, run.source
    train, validation, test = config.train_split, config.validation_split, config.test_split
    table = run.features.table if run.features else None
    if table is not None:
        counts = np.bincount(table.labels, minlength=len(source.class_names))
    elif isinstance(source, ListedSource) or source.num_examples(train) <= _MAX_READ:
        counts = source.label_counts(train)
    else:
        counts = None
    found = [
        Split(train, "training", source.num_examples(train), counts),
        Split(
            validation,
            "validation",
            source.num_examples(validation),
            evaluation.confusion.sum(axis=1),
        ),
    ]
    if test:
        scored = np.array(metrics["test"]["confusion_matrix"]).sum(axis=1)
        found.append(Split(test, "test", source.num_examples(test), scored))
    return found


def _near_duplicates(
    run: Run, evaluation: Evaluation, hashes: np.ndarray
) -> tuple[list[NearDuplicate], str]:
    """Find validation images that are also in the training split; return a remark, too."""
    config, source = run.config, run.source
    train, validation = config.train_split, config.validation_split
    if train == validation:
        return [], "Not checked: one split trains and validates."
    num_train, table, own = source.num_examples(train), _table(run, train), _table(run, validation)
    if table is not None and own is not None:
        width = run.classifier.backbone.num_features
        if num_train * len(hashes) * width <= _MAX_PRODUCTS:
            return _near(run, table, own, hashes), ""
    if num_train > _MAX_READ:
        return [], f"Not checked: {num_train:,} training images are too many to compare with."
    known = pictures.identities(source, train, run.raise_if_stopping)[1]
    at = {int(value): index for index, value in reversed(list(enumerate(known)))}
    near_duplicates = [
        NearDuplicate(index, at[int(value)], 1.0, True)
        for index, value in enumerate(hashes)
        if int(value) in at
    ]
    return (
        near_duplicates,
        "Only exact copies of files: there are no features to compare.",
    )


def _near(
    run: Run, table: FeatureTable, own: FeatureTable, hashes: np.ndarray
) -> list[NearDuplicate]:
    good = np.flatnonzero(own.is_good)
    indices, cosines = duplicates.nearest(_rows(run, table), table.is_good, _rows(run, own)(good))
    is_near = cosines >= duplicates.NEAR
    if not is_near.any():
        return []
    of_train = _hashes(run, indices[is_near], cosines[is_near])
    found = [
        NearDuplicate(
            int(mine), int(theirs), float(cosine), bool(hashes[mine] == of_train.get(int(theirs)))
        )
        for mine, theirs, cosine in zip(
            good[is_near], indices[is_near], cosines[is_near], strict=True
        )
    ]
    return sorted(found, key=lambda pair: (not pair.is_exact, -pair.cosine))


def _hashes(run: Run, indices: np.ndarray, cosines: np.ndarray) -> dict[int, int]:
    """Return hashes of training images by index; of too many only the nearest."""
    split = run.config.train_split
    if len(indices) > _MAX_SINGLE_READS and run.source.num_examples(split) <= _MAX_READ:
        _, known = pictures.identities(run.source, split, run.raise_if_stopping)
        return dict(enumerate(known.tolist()))
    nearest = np.unique(indices[np.argsort(-cosines, kind="stable")[:_MAX_SINGLE_READS]]).tolist()
    found = pictures.hashes(run.source, split, nearest, run.raise_if_stopping)
    return dict(zip(nearest, found.tolist(), strict=True))


def _suspect_labels(run: Run, evaluation: Evaluation) -> tuple[list[SuspectLabel], str]:
    """Find suspect labels; return a remark on what was not checked, too."""
    config, num_classes = run.config, len(run.source.class_names)
    train, validation = config.train_split, config.validation_split
    table, own = _table(run, train), _table(run, validation)
    width = run.classifier.backbone.num_features
    found: list[tuple[str, ScoredExamples, np.ndarray]] = []
    remark = ""
    if table is None:
        remark = "Training labels are not checked: there are no features of them."
    elif len(table.labels) * width * (width + num_classes) > _MAX_PRODUCTS:
        remark = f"Training labels are not checked: {len(table.labels):,} are too many."
    else:
        regression = mislabels.Regression(_labeled(run, table), num_classes)
        judged = regression.judge_training_labels()
        found.append((train, judged, mislabels.beyond_margin(judged)))
        if own is not None and validation != train:
            judged = regression.judge_labels(_labeled(run, own))
            found.insert(0, (validation, judged, mislabels.beyond_margin(judged)))
    judged_splits = {split for split, *_ in found}
    if validation not in judged_splits and train != validation and evaluation.scored is not None:
        indices = mislabels.confident(evaluation.scored, num_classes)
        found.insert(0, (validation, evaluation.scored, indices))
    suspect_labels = [
        SuspectLabel(
            (split, int(index)),
            int(scored.prediction[index]),
            float(scored.confidence[index]),
            float(scored.label_probability[index]),
        )
        for split, scored, indices in found
        for index in indices
    ]
    return suspect_labels, remark


def _labeled(run: Run, table: FeatureTable) -> LabeledFeatures:
    return LabeledFeatures(_rows(run, table), table.labels, table.is_good)


def _table(run: Run, split: str) -> FeatureTable | None:
    """Return the features of a split's unaugmented images, if there are any."""
    config = run.config
    pipelines = {config.train_split: run.features, config.validation_split: run.evaluation_features}
    for name, pipeline in pipelines.items():
        if pipeline is not None and name == split:
            table = pipeline.table
            if len(table.is_good) == len(table.labels) and not run.config.feature_views:
                return table
    return None


def _rows(run: Run, table: FeatureTable) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from indices to features that checks for a signal at each call."""

    def rows(indices: np.ndarray) -> np.ndarray:
        run.raise_if_stopping()
        return table.rows(tf.constant(indices, tf.int64)).numpy()

    return rows


def _images(run: Run, shown: set[ExampleKey]) -> dict[ExampleKey, ReportImage]:
    found: dict[ExampleKey, ReportImage] = {}
    for split in sorted({split for split, _ in shown}):
        indices = sorted(index for of_split, index in shown if of_split == split)
        read = pictures.read(run.source, split, indices, run.raise_if_stopping)
        found |= {(split, index): image for index, image in zip(indices, read, strict=True)}
    return found
