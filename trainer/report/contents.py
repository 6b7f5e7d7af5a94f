"""From what is known of a run to what its page says, in JSON's types; no number is not finite."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from trainer.report import calibration, command_of, findings, matrix
from trainer.report.curves import NAMES, thinned
from trainer.report.evidence import Evidence, Place

# What is shown of each kind; the rest is counted.
MAX_MISTAKES, MAX_TWINS, MAX_DOUBTS = 24, 12, 24
_MAX_SKIPPED = 20

# What the page asks for, in runs that are not over, or of an earlier version, too.
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


def build(evidence: Evidence) -> dict[str, Any]:
    """What the page shows, section by section.

    Returns:
        {"workdir", "metrics", "interval", "classes", "data", "curves", "curves_remark",
        "confusion", "calibration", "mistakes", "duplicates", "mislabels", "goodput", "settings",
        "command", "findings"}; what is not known is None or empty.
    """
    metrics = dict(evidence.metrics)
    evaluation = metrics.get("eval") or {}
    names = [str(name) for name in metrics.get("class_names", ())]
    contents = {
        "workdir": evidence.workdir,
        "metrics": whole(metrics, METRICS),
        "class_names": names,
        "interval": interval(evaluation.get("accuracy"), evaluation.get("num_examples", 0)),
        "classes": matrix.per_class(evaluation, names, evidence.scored),
        "data": _data(evidence, names),
        "curves": {
            curve: {tag: thinned(points) for tag, points in tags.items()}
            for curve, tags in {**{name: {} for name in NAMES}, **evidence.curves}.items()
        },
        "curves_remark": evidence.remarks.get("curves", ""),
        "confusion": matrix.confusion(evaluation, names),
        "calibration": _calibration(evidence),
        "mistakes": _mistakes(evidence, names),
        "duplicates": _duplicates(evidence, names),
        "mislabels": _mislabels(evidence, names),
        "goodput": goodput(metrics),
        "settings": whole(dict(evidence.settings), _SETTINGS),
        "changed": command_of.changed(evidence.settings.get("config", {})),
        "command": command_of.command(evidence.settings.get("config", {})),
    }
    contents = finite(contents)
    contents["findings"] = findings.find(contents)
    return contents


def finite(value: Any) -> Any:
    """`value` with None for every number that JSON cannot say, in Python's own types."""
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


def whole(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """`found` with all the keys of `expected`, and what stands there for those it lacks."""
    return {
        **{key: value for key, value in expected.items() if not isinstance(value, dict)},
        **found,
        **{
            key: whole(found.get(key) or {}, value)
            for key, value in expected.items()
            if isinstance(value, dict)
        },
    }


def interval(accuracy: float | None, num_examples: int) -> tuple[float, float] | None:
    """Where the true accuracy lies with 95 %: Wilson's interval, JASA 22, 1927."""
    if accuracy is None or not math.isfinite(accuracy) or not num_examples:
        return None
    z = 1.959964
    scale = 1 + z * z / num_examples
    center = (accuracy + z * z / (2 * num_examples)) / scale
    spread = accuracy * (1 - accuracy) / num_examples + z * z / (4 * num_examples**2)
    half = z * math.sqrt(max(spread, 0.0)) / scale
    return max(0.0, center - half), min(1.0, center + half)


def mistaken(evidence: Evidence) -> list[int]:
    """The places of the wrong predictions, the most confident first."""
    if evidence.scored is None:
        return []
    wrong = np.flatnonzero(evidence.scored.is_wrong)
    order = np.argsort(-evidence.scored.confidence[wrong], kind="stable")
    return [int(place) for place in wrong[order]]


def shown_doubts(evidence: Evidence) -> list[int]:
    """Which of the doubts are shown: of each split its most certain ones, the splits in turns."""
    ranks: dict[str, int] = {}
    keys = []
    for number, doubt in enumerate(evidence.doubts):
        rank = ranks.setdefault(doubt.at[0], 0)
        ranks[doubt.at[0]] += 1
        keys.append((rank, number))
    return [number for _, number in sorted(keys)[:MAX_DOUBTS]]


def places_to_show(evidence: Evidence, validation: str, train: str) -> set[Place]:
    """The examples whose pictures the page needs."""
    places = {(validation, place) for place in mistaken(evidence)[:MAX_MISTAKES]}
    for twin in evidence.twins[:MAX_TWINS]:
        places |= {(validation, twin.validation), (train, twin.train)}
    return places | {evidence.doubts[number].at for number in shown_doubts(evidence)}


def goodput(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """The wall time by category: {"name", "secs", "share"}, the largest first."""
    secs = (metrics.get("goodput") or {}).get("secs") or {}
    total = sum(secs.values())
    found = [
        {"name": name, "secs": spent, "share": spent / total}
        for name, spent in secs.items()
        if spent
    ]
    return sorted(found, key=lambda part: -part["secs"])


def _data(evidence: Evidence, names: list[str]) -> dict[str, Any]:
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


def _calibration(evidence: Evidence) -> dict[str, Any]:
    scored = evidence.scored
    if scored is None:
        return {"bins": [], "error": None, "confidence": None}
    confidence = scored.confidence[scored.is_scored]
    return {
        "bins": calibration.reliability(scored),
        "error": calibration.expected_calibration_error(scored),
        "confidence": float(np.mean(confidence, dtype=float)) if len(confidence) else None,
    }


def _mistakes(evidence: Evidence, names: list[str]) -> dict[str, Any]:
    places = mistaken(evidence)
    split = _name_of(evidence, "validation")
    shown = []
    for place in places[:MAX_MISTAKES]:
        assert evidence.scored is not None
        shown.append(
            {
                **_picture(evidence, (split, place), names),
                "prediction": names[evidence.scored.prediction[place]],
                "confidence": evidence.scored.confidence[place],
                "label_probability": evidence.scored.label_probability[place],
            }
        )
    return {"count": len(places), "shown": shown}


def _duplicates(evidence: Evidence, names: list[str]) -> dict[str, Any]:
    validation, train = _name_of(evidence, "validation"), _name_of(evidence, "training")
    shown = [
        {
            "validation": _picture(evidence, (validation, twin.validation), names),
            "train": _picture(evidence, (train, twin.train), names),
            "cosine": twin.cosine,
            "is_exact": twin.is_exact,
        }
        for twin in evidence.twins[:MAX_TWINS]
    ]
    num_exact = sum(twin.is_exact for twin in evidence.twins)
    return {
        "num_exact": num_exact,
        "num_near": len(evidence.twins) - num_exact,
        "shown": shown,
        "remark": evidence.remarks.get("duplicates", ""),
    }


def _mislabels(evidence: Evidence, names: list[str]) -> dict[str, Any]:
    doubts = [evidence.doubts[number] for number in shown_doubts(evidence)]
    shown = [
        {
            **_picture(evidence, doubt.at, names),
            "suggestion": names[doubt.suggestion],
            "confidence": doubt.confidence,
            "label_probability": doubt.label_probability,
        }
        for doubt in doubts
    ]
    return {
        "count": len(evidence.doubts),
        "shown": shown,
        "remark": evidence.remarks.get("mislabels", ""),
    }


def _picture(evidence: Evidence, at: Place, names: list[str]) -> dict[str, Any]:
    found = evidence.pictures.get(at)
    if found is None:
        return {"split": at[0], "id": "", "label": "", "picture": ""}
    label = names[found.label] if 0 <= found.label < len(names) else ""
    return {"split": at[0], "id": found.id, "label": label, "picture": found.uri}


def _name_of(evidence: Evidence, role: str) -> str:
    return next((split.name for split in evidence.splits if split.role == role), role)
