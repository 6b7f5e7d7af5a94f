"""The confusion matrix and the figures of each class, truncated to fit a screen."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.engine.scored_examples import ScoredExamples
from trainer.report import calibration

MAX_CLASSES = 20  # of the matrix
_MAX_PAIRS = 10


def confusion(evaluation: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Return the matrix of the most confused classes, and the most confused pairs.

    Args:
        evaluation: as Evaluation.to_dict has it.
        names: of the classes.

    Returns:
        {"classes": names, "rows": ints, labels by predictions, "num_examples" by label,
        "is_part": whether classes are left out, "pairs": [{"label", "prediction", "count",
        "num_examples"}], the worst first, "never_predicted": names of classes with examples}.
    """
    counts = np.array(evaluation.get("confusion_matrix") or np.zeros([0, 0]), np.int64)
    if counts.shape != (len(names), len(names)):
        counts = np.zeros([len(names), len(names)], np.int64)
    wrong = counts - np.diag(np.diag(counts))
    errors = wrong.sum(axis=0) + wrong.sum(axis=1)
    members = np.sort(np.argsort(-errors, kind="stable")[:MAX_CLASSES])
    num_examples = counts.sum(axis=1)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MAX_PAIRS]
    pairs = [
        {
            "label": names[label],
            "prediction": names[prediction],
            "count": int(wrong[label, prediction]),
            "num_examples": int(num_examples[label]),
        }
        for label, prediction in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[label, prediction]
    ]
    never = np.flatnonzero((counts.sum(axis=0) == 0) & (num_examples > 0))
    return {
        "classes": [names[i] for i in members],
        "rows": counts[np.ix_(members, members)].tolist(),
        "num_examples": num_examples[members].tolist(),
        "is_part": len(members) < len(names),
        "pairs": pairs,
        "never_predicted": [names[i] for i in never],
    }


def per_class(
    evaluation: dict[str, Any], names: list[str], scored: ScoredExamples | None
) -> list[dict[str, Any]]:
    """Return a row for each class, in the order of the labels.

    Returns:
        {"name", "num_examples", "precision", "recall", "num_predicted", "confidence",
        "calibration_error"}: the last two over the examples predicted as the class, None if
        there are none.
    """
    of_class = evaluation.get("per_class") or {}
    matrix = evaluation.get("confusion_matrix") or []
    predicted = np.array(matrix, np.int64).sum(axis=0) if matrix else np.zeros(len(names), int)
    order = np.array([], np.int64)
    bounds = np.zeros(len(names) + 1, np.int64)
    if scored is not None:
        order = np.argsort(scored.prediction, kind="stable")
        order = order[scored.is_scored[order]]
        bounds = np.searchsorted(scored.prediction[order], np.arange(len(names) + 1))
    rows = []
    for i, name in enumerate(names):
        members = order[bounds[i] : bounds[i + 1]]
        own = None if scored is None else scored.at(members)
        figures = of_class.get(name, {})
        rows.append(
            {
                "name": name,
                "num_examples": figures.get("num_examples", 0),
                "precision": figures.get("precision"),
                "recall": figures.get("recall"),
                "num_predicted": int(predicted[i]),
                "confidence": _mean(own.confidence) if own is not None else None,
                "calibration_error": (
                    calibration.expected_calibration_error(own) if own is not None else None
                ),
            }
        )
    return rows


def _mean(values: np.ndarray) -> float | None:
    return float(np.mean(values, dtype=np.float64)) if len(values) else None
