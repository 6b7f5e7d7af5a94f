"""The examples that the page shows: mistakes, duplicates, doubtful labels, and their pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.report.evidence import Place, ReportData

# What is shown of each kind; the rest is counted.
MAX_MISTAKES, MAX_TWINS, MAX_DOUBTS = 24, 12, 24


def mistaken(evidence: ReportData) -> list[int]:
    """The places of the wrong predictions, the most confident first."""
    if evidence.scored is None:
        return []
    wrong = np.flatnonzero(evidence.scored.is_wrong)
    order = np.argsort(-evidence.scored.confidence[wrong], kind="stable")
    return [int(index) for index in wrong[order]]


def shown_doubts(evidence: ReportData) -> list[int]:
    """Which of the doubts are shown: of each split its most certain ones, the splits in turns."""
    ranks: dict[str, int] = {}
    keys = []
    for number, doubt in enumerate(evidence.suspect_labels):
        rank = ranks.setdefault(doubt.at[0], 0)
        ranks[doubt.at[0]] += 1
        keys.append((rank, number))
    return [number for _, number in sorted(keys)[:MAX_DOUBTS]]


def indices_to_show(evidence: ReportData, validation: str, train: str) -> set[Place]:
    """The examples whose pictures the page needs."""
    indices = {(validation, index) for index in mistaken(evidence)[:MAX_MISTAKES]}
    for twin in evidence.near_duplicates[:MAX_TWINS]:
        indices |= {(validation, twin.validation), (train, twin.train)}
    return indices | {evidence.suspect_labels[number].at for number in shown_doubts(evidence)}


def mistakes(evidence: ReportData, names: list[str]) -> dict[str, Any]:
    """The wrong predictions, as the page shows them; see contents."""
    indices = mistaken(evidence)
    split = _name_of(evidence, "validation")
    shown = []
    for index in indices[:MAX_MISTAKES]:
        assert evidence.scored is not None
        shown.append(
            {
                **_picture(evidence, (split, index), names),
                "prediction": names[evidence.scored.prediction[index]],
                "confidence": evidence.scored.confidence[index],
                "label_probability": evidence.scored.label_probability[index],
            }
        )
    return {"count": len(indices), "shown": shown}


def duplicates(evidence: ReportData, names: list[str]) -> dict[str, Any]:
    """The validation images that are in the training split, too, in the same way."""
    validation, train = _name_of(evidence, "validation"), _name_of(evidence, "training")
    shown = [
        {
            "validation": _picture(evidence, (validation, twin.validation), names),
            "train": _picture(evidence, (train, twin.train), names),
            "cosine": twin.cosine,
            "is_exact": twin.is_exact,
        }
        for twin in evidence.near_duplicates[:MAX_TWINS]
    ]
    num_exact = sum(twin.is_exact for twin in evidence.near_duplicates)
    return {
        "num_exact": num_exact,
        "num_near": len(evidence.near_duplicates) - num_exact,
        "shown": shown,
        "remark": evidence.remarks.get("duplicates", ""),
    }


def mislabels(evidence: ReportData, names: list[str]) -> dict[str, Any]:
    """The labels worth a second look, in the same way."""
    suspect_labels = [evidence.suspect_labels[number] for number in shown_doubts(evidence)]
    shown = [
        {
            **_picture(evidence, doubt.at, names),
            "suggestion": names[doubt.suggestion],
            "confidence": doubt.confidence,
            "label_probability": doubt.label_probability,
        }
        for doubt in suspect_labels
    ]
    return {
        "count": len(evidence.suspect_labels),
        "shown": shown,
        "remark": evidence.remarks.get("mislabels", ""),
    }


def _picture(evidence: ReportData, at: Place, names: list[str]) -> dict[str, Any]:
    found = evidence.pictures.get(at)
    if found is None:
        return {"split": at[0], "id": "", "label": "", "picture": ""}
    label = names[found.label] if 0 <= found.label < len(names) else ""
    return {"split": at[0], "id": found.id, "label": label, "picture": found.uri}


def _name_of(evidence: ReportData, role: str) -> str:
    return next((split.name for split in evidence.splits if split.role == role), role)
