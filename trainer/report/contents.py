"""`report/contents.json`: everything that the page of a run shows, as data.

One JSON object, from which `report/index.html` beside it is rendered. Fractions, probabilities
and confidences are in [0, 1]; unknown or non-finite values are null, empty or "". An EXAMPLE is
{"split", "id", "label", "picture": a JPEG as a data URI}; `shown` is truncated, counts are not.

    workdir, class_names  of the run; the classes in the order of the labels
    metrics, settings     as `metrics.json` and `config.json`, with null for missing keys
    interval              [low, high]: 95 % confidence interval of the accuracy
    data                  {"splits": see evidence.Split, with "counts" by class, "num_skipped",
                          "skipped": [{"id", "reason"}], "remark"}
    curves                "train" and "eval", by tag: [[step, value]], thinned, of
                          `logs/curves.jsonl`; `curves_remark` says what could not be read
    classes, confusion    see matrix.per_class and matrix.confusion
    calibration           {"bins": see calibration.reliability, "error", "confidence": their mean}
    mistakes              {"count", "shown": EXAMPLEs with "prediction", "confidence",
                          "label_probability"}
    duplicates            {"num_exact", "num_near", "shown": [{"validation": EXAMPLE, "train":
                          EXAMPLE, "cosine" in [-1, 1], "is_exact"}], "remark"}
    mislabels             {"count", "shown": EXAMPLEs with "suggestion", "confidence",
                          "label_probability", "remark"}
    goodput               [{"name", "secs", "share"}] of the wall time, the largest first
    changed, command      see command_of: the flags that are not the default; how to reproduce
    findings              see findings.find
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from trainer.report import calibration, command_of, examples, findings, matrix
from trainer.report.evidence import ReportData
from trainer.workdir import curves

_MAX_SKIPPED = 20  # files are shown
_MAX_POINTS = 600  # of a curve

# Keys that the templates need, for unfinished runs and those of earlier versions, too.
_SCORES = dict.fromkeys(("num_examples", "loss", "accuracy"))
METRICS: dict[str, Any] = {
    **dict.fromkeys(("global_step", "num_trainable_params", "wall_secs", "examples_per_sec")),
    **dict.fromkeys(("input_wait", "test")),
    "train": dict.fromkeys(("loss", "accuracy")),
    "eval": _SCORES,
    "best": dict.fromkeys(("global_step", "accuracy")),
    "goodput": {"wall_secs": None, "in_steps": None, "secs": {}},
}
_SETTINGS: dict[str, Any] = {
    "config": {"backbone": "?", "dataset": "?", "freeze_backbone": None},
    "identity": {"dataset_digest": None},
    "versions": {},
    "git_commit": None,
}


def build(evidence: ReportData) -> dict[str, Any]:
    """Return what `report/contents.json` holds, as Python's own types, all numbers finite."""
    metrics = dict(evidence.metrics)
    evaluation = metrics.get("eval") or {}
    names = [str(name) for name in metrics.get("class_names", ())]
    contents = {
        "workdir": evidence.workdir,
        "metrics": with_defaults(metrics, METRICS),
        "class_names": names,
        "interval": interval(evaluation.get("accuracy"), evaluation.get("num_examples", 0)),
        "classes": matrix.per_class(evaluation, names, evidence.scored),
        "data": _data(evidence, names),
        "curves": {
            curve: {tag: thinned(points) for tag, points in tags.items()}
            for curve, tags in {**{name: {} for name in curves.NAMES}, **evidence.curves}.items()
        },
        "curves_remark": evidence.remarks.get("curves", ""),
        "confusion": matrix.confusion(evaluation, names),
        "calibration": _calibration(evidence),
        "mistakes": examples.mistakes(evidence, names),
        "duplicates": examples.duplicates(evidence, names),
        "mislabels": examples.mislabels(evidence, names),
        "goodput": goodput(metrics),
        "settings": with_defaults(dict(evidence.settings), _SETTINGS),
        "changed": command_of.changed(evidence.settings.get("config", {})),
        "command": command_of.command(evidence.settings.get("config", {})),
    }
    contents = finite(contents)
    contents["findings"] = findings.find(contents)
    return contents


def finite(value: Any) -> Any:
    """Convert to Python's own types; replace non-finite numbers, which JSON lacks, by None."""
    if isinstance(value, dict):
        return {str(key): finite(of_key) for key, of_key in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(element) for element in value]
    if isinstance(value, np.ndarray):
        return finite(value.tolist())
    if isinstance(value, np.generic):
        return finite(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def with_defaults(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """Return `found` with the values of `expected` for missing keys, recursively."""
    return {
        **{key: value for key, value in expected.items() if not isinstance(value, dict)},
        **found,
        **{
            key: with_defaults(found.get(key) or {}, value)
            for key, value in expected.items()
            if isinstance(value, dict)
        },
    }


def interval(accuracy: float | None, num_examples: int) -> tuple[float, float] | None:
    """Return the 95 % confidence interval of the accuracy: Wilson, JASA 22, 1927."""
    if accuracy is None or not math.isfinite(accuracy) or not num_examples:
        return None
    z = 1.959964
    scale = 1 + z * z / num_examples
    center = (accuracy + z * z / (2 * num_examples)) / scale
    spread = accuracy * (1 - accuracy) / num_examples + z * z / (4 * num_examples**2)
    half = z * math.sqrt(max(spread, 0.0)) / scale
    return max(0.0, center - half), min(1.0, center + half)


def thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return at most _MAX_POINTS points, evenly spaced, with the first and the last."""
    if len(points) <= _MAX_POINTS:
        return points
    last = len(points) - 1
    return [points[round(i * last / (_MAX_POINTS - 1))] for i in range(_MAX_POINTS)]


def goodput(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the wall time by category: {"name", "secs", "share"}, the largest first."""
    secs = (metrics.get("goodput") or {}).get("secs") or {}
    total = sum(secs.values())
    found = [
        {"name": name, "secs": spent, "share": spent / total}
        for name, spent in secs.items()
        if spent
    ]
    return sorted(found, key=lambda part: -part["secs"])


def _data(evidence: ReportData, names: list[str]) -> dict[str, Any]:
    skipped = sorted(evidence.metrics.get("skipped", {}).items())
    return {
        "splits": [
            {
                "name": split.name,
                "role": split.role,
                "num_examples": split.num_examples,
                "counts": None if split.label_counts is None else split.label_counts.tolist(),
            }
            for split in evidence.splits
        ],
        "num_skipped": len(skipped),
        "skipped": [{"id": name, "reason": why} for name, why in skipped[:_MAX_SKIPPED]],
        "remark": evidence.remarks.get("data", ""),
    }


def _calibration(evidence: ReportData) -> dict[str, Any]:
    scored = evidence.scored
    if scored is None:
        return {"bins": [], "error": None, "confidence": None}
    confidence = scored.confidence[scored.is_scored]
    return {
        "bins": calibration.reliability(scored),
        "error": calibration.expected_calibration_error(scored),
        "confidence": float(np.mean(confidence, dtype=float)) if len(confidence) else None,
    }
