"""The examples that the page shows: mistakes, duplicates and suspect labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.report.evidence import ExampleKey, ReportData

# Examples shown of each kind.
MAX_MISTAKES, MAX_DUPLICATES, MAX_SUSPECT_LABELS = 24, 12, 24


def misclassified(evidence: ReportData) -> list[int]:
    """Return the indices of the wrong predictions, the most confident first."""
    if evidence.scored is None:
        return []
    wrong = np.flatnonzero(evidence.scored.is_wrong)
    order = np.argsort(-evidence.scored.confidence[wrong], kind="stable")
    return [int(index) for index in wrong[order]]


def shown_suspect_labels(evidence: ReportData) -> list[int]:
    """Choose which suspect labels are shown: the most certain of each split, alternating."""
    ranks: dict[str, int] = {}
    keys = []
    for number, suspect in enumerate(evidence.suspect_labels):
        rank = ranks.setdefault(suspect.at[0], 0)
        ranks[suspect.at[0]] += 1
        keys.append((rank, number))
    return [number for _, number in sorted(keys)[:MAX_SUSPECT_LABELS]]


def indices_to_show(evidence: ReportData, validation: str, train: str) -> set[ExampleKey]:
    """Return the examples whose images the page needs."""
    indices = {(validation, index) for index in misclassified(evidence)[:MAX_MISTAKES]}
    for pair in evidence.near_duplicates[:MAX_DUPLICATES]:
        indices |= {(validation, pair.validation), (train, pair.train)}
    return indices | {
        evidence.suspect_labels[number].at for number in shown_suspect_labels(evidence)
    }


def mistakes(evidence: ReportData, names: list[str]) -> dict[str, Any]:
    """Return the wrong predictions as the page shows them; see contents."""
    indices = misclassified(evidence)
    split = _name_of(evidence, "validation")
    shown = []
    for index in indices[:MAX_MISTAKES]:
        assert evidence.scored is not None
        shown.append(
            {
                **_example(evidence, (split, index), names),
                "prediction": names[evidence.scored.prediction[index]],
                "confidence": evidence.scored.confidence[index],
                "label_probability": evidence.scored.label_probability[index],
            }
        )
    return {"count": len(indices), "shown": shown}


def duplicates(evidence: ReportData, names: list[str]) -> dict[str, Any]:
    """Return the validation images that are also in the training split; see contents."""
    validation, train = _name_of(evidence, "validation"), _name_of(evidence, "training")
    shown = [
        {
            "validation": _example(evidence, (validation, pair.validation), names),
            "train": _example(evidence, (train, pair.train), names),
            "cosine": pair.cosine,
            "is_exact": pair.is_exact,
        }
        for pair in evidence.near_duplicates[:MAX_DUPLICATES]
    ]
    num_exact = sum(pair.is_exact for pair in evidence.near_duplicates)
    return {
        "num_exact": num_exact,
        "num_near": len(evidence.near_duplicates) - num_exact,
        "shown": shown,
        "remark": evidence.remarks.get("duplicates", ""),
    }


def mislabels(evidence: ReportData, names: list[str]) -> dict[str, Any]:
    """Return the suspect labels; see contents."""
    suspect_labels = [evidence.suspect_labels[number] for number in shown_suspect_labels(evidence)]
    shown = [
        {
            **_example(evidence, suspect.at, names),
            "suggestion": names[suspect.suggestion],
            "confidence": suspect.confidence,
            "label_probability": suspect.label_probability,
        }
        for suspect in suspect_labels
    ]
    return {
        "count": len(evidence.suspect_labels),
        "shown": shown,
        "remark": evidence.remarks.get("mislabels", ""),
    }


def _example(evidence: ReportData, at: ExampleKey, names: list[str]) -> dict[str, Any]:
    found = evidence.images.get(at)
    if found is None:
        return {"split": at[0], "id": "", "label": "", "picture": ""}
    label = names[found.label] if 0 <= found.label < len(names) else ""
    return {"split": at[0], "id": found.id, "label": label, "picture": found.uri}


def _name_of(evidence: ReportData, role: str) -> str:
    return next((split.name for split in evidence.splits if split.role == role), role)
