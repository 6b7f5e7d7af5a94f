"""Finding out what the page of a run shows: from its data, its features and its last evaluation."""

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
    NearDuplicate,
    Place,
    ReportData,
    ReportImage,
    Split,
    SuspectLabel,
)
from trainer.report.mislabels import LabeledFeatures
from trainer.storage import api as storage
from trainer.workdir import curves
from trainer.workdir import paths as parts

# A second or two of reading; larger splits are not read once more for the page's sake.
_MAX_READ = 20_000
# Each of them is sought on its own: a millisecond or two.
_MAX_SOUGHT = 500
# Multiplications: some seconds of two cores.
_MAX_PRODUCTS = 5e11


def gather(run: Run, evaluation: Evaluation, metrics: dict[str, Any]) -> ReportData:
    """All that the page of a run shows; `metrics` is what `metrics.json` is to hold.

    Raises:
        Preempted: see Run.stop_if_asked.
    """
    config, source = run.config, run.source
    ids, prints = pictures.identities(source, config.validation_split, run.stop_if_asked)
    remarks: dict[str, str] = {}
    near_duplicates, remarks["duplicates"] = _twins(run, evaluation, prints)
    suspect_labels, remarks["mislabels"] = _doubts(run, evaluation)
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
    return dataclasses.replace(evidence, pictures=_pictures(run, shown))


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


def _twins(run: Run, evaluation: Evaluation, prints: np.ndarray) -> tuple[list[NearDuplicate], str]:
    """Validation images that are in the training split, too; and what was not looked for."""
    config, source = run.config, run.source
    train, validation = config.train_split, config.validation_split
    if train == validation:
        return [], "Not looked for: one split trains and validates."
    num_train, table, own = source.num_examples(train), _table(run, train), _table(run, validation)
    if table is not None and own is not None:
        width = run.classifier.backbone.num_features
        if num_train * len(prints) * width <= _MAX_PRODUCTS:
            return _near(run, table, own, prints), ""
    if num_train > _MAX_READ:
        return [], f"Not looked for: {num_train:,} training images are too many to compare with."
    known = pictures.identities(source, train, run.stop_if_asked)[1]
    at = {int(value): index for index, value in reversed(list(enumerate(known)))}
    near_duplicates = [
        NearDuplicate(index, at[int(value)], 1.0, True)
        for index, value in enumerate(prints)
        if int(value) in at
    ]
    return (
        near_duplicates,
        "Only files that are the same byte for byte: there are no features to compare.",
    )


def _near(
    run: Run, table: FeatureTable, own: FeatureTable, prints: np.ndarray
) -> list[NearDuplicate]:
    good = np.flatnonzero(own.is_good)
    indices, cosines = duplicates.nearest(_rows(run, table), table.is_good, _rows(run, own)(good))
    is_near = cosines >= duplicates.NEAR
    if not is_near.any():
        return []
    of_train = _prints(run, indices[is_near], cosines[is_near])
    found = [
        NearDuplicate(
            int(mine), int(theirs), float(cosine), bool(prints[mine] == of_train.get(int(theirs)))
        )
        for mine, theirs, cosine in zip(
            good[is_near], indices[is_near], cosines[is_near], strict=True
        )
    ]
    return sorted(found, key=lambda twin: (not twin.is_exact, -twin.cosine))


def _prints(run: Run, indices: np.ndarray, cosines: np.ndarray) -> dict[int, int]:
    """Fingerprints of training images by their places; of too many, those of the nearest."""
    split = run.config.train_split
    if len(indices) > _MAX_SOUGHT and run.source.num_examples(split) <= _MAX_READ:
        _, known = pictures.identities(run.source, split, run.stop_if_asked)
        return dict(enumerate(known.tolist()))
    nearest = np.unique(indices[np.argsort(-cosines, kind="stable")[:_MAX_SOUGHT]]).tolist()
    found = pictures.fingerprints(run.source, split, nearest, run.stop_if_asked)
    return dict(zip(nearest, found.tolist(), strict=True))


def _doubts(run: Run, evaluation: Evaluation) -> tuple[list[SuspectLabel], str]:
    """Labels worth a second look; and what was not looked for."""
    config, num_classes = run.config, len(run.source.class_names)
    train, validation = config.train_split, config.validation_split
    table, own = _table(run, train), _table(run, validation)
    width = run.classifier.backbone.num_features
    found: list[tuple[str, ScoredExamples, np.ndarray]] = []
    remark = ""
    if table is None:
        remark = "The training images are not looked through: there are no features of them."
    elif len(table.labels) * width * (width + num_classes) > _MAX_PRODUCTS:
        remark = f"The training images are not looked through: {len(table.labels):,} are too many."
    else:
        regression = mislabels.Regression(_labelled(run, table), num_classes)
        judged = regression.of_its_own()
        found.append((train, judged, mislabels.clear(judged)))
        if own is not None and validation != train:
            judged = regression.of_others(_labelled(run, own))
            found.insert(0, (validation, judged, mislabels.clear(judged)))
    judged_too = {split for split, *_ in found}
    if validation not in judged_too and train != validation and evaluation.scored is not None:
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


def _labelled(run: Run, table: FeatureTable) -> LabeledFeatures:
    return LabeledFeatures(_rows(run, table), table.labels, table.is_good)


def _table(run: Run, split: str) -> FeatureTable | None:
    """The features of a split as its pictures are, if there are such."""
    config = run.config
    pipelines = {config.train_split: run.features, config.validation_split: run.evaluation_features}
    for name, pipeline in pipelines.items():
        if pipeline is not None and name == split:
            table = pipeline.table
            if len(table.is_good) == len(table.labels) and not run.config.feature_views:
                return table
    return None


def _rows(run: Run, table: FeatureTable) -> Callable[[np.ndarray], np.ndarray]:
    """Of some thousand places at a time, which is as often as a signal is looked for."""

    def rows(indices: np.ndarray) -> np.ndarray:
        run.stop_if_asked()
        return table.rows(tf.constant(indices, tf.int64)).numpy()

    return rows


def _pictures(run: Run, shown: set[Place]) -> dict[Place, ReportImage]:
    found: dict[Place, ReportImage] = {}
    for split in sorted({split for split, _ in shown}):
        indices = sorted(index for of_split, index in shown if of_split == split)
        read = pictures.read(run.source, split, indices, run.stop_if_asked)
        found |= {(split, index): picture for index, picture in zip(indices, read, strict=True)}
    return found
