"""Whether predictions with a confidence of 90 % are correct in 90 % of the cases.

Reliability diagrams and the expected calibration error are those of Guo, Pleiss, Sun, Weinberger,
"On Calibration of Modern Neural Networks", ICML 2017, with bins of equal width.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.engine.scored_examples import ScoredExamples

NUM_BINS = 10


def reliability(scored: ScoredExamples) -> list[dict[str, Any]]:
    """Group the scored examples by confidence into NUM_BINS bins of equal width.

    Returns:
        for each bin {"low", "high", "num_examples", "confidence", "accuracy"}; the two means are
        None where it is empty.
    """
    at = _bins(scored)
    found = []
    for number in range(NUM_BINS):
        members = at == number
        count = int(members.sum())
        found.append(
            {
                "low": number / NUM_BINS,
                "high": (number + 1) / NUM_BINS,
                "num_examples": count,
                "confidence": _mean(scored.confidence[members]),
                "accuracy": _mean(scored.is_correct[members]),
            }
        )
    return found


def expected_calibration_error(scored: ScoredExamples) -> float | None:
    """Return the mean |confidence - accuracy| over the bins, in [0, 1]; None without examples."""
    bins = [b for b in reliability(scored) if b["num_examples"]]
    total = sum(b["num_examples"] for b in bins)
    if not total:
        return None
    return sum(b["num_examples"] * abs(b["confidence"] - b["accuracy"]) for b in bins) / total


def _bins(scored: ScoredExamples) -> np.ndarray:
    """Return the bin of each example, int64 [n]; -1 without a finite confidence."""
    is_valid = scored.is_scored & np.isfinite(scored.confidence)
    confidence = np.where(is_valid, scored.confidence, 0).astype(np.float64)
    # A bin includes its upper bound, as in the paper: 1.0 belongs to the last one.
    at = np.clip(np.ceil(confidence * NUM_BINS).astype(np.int64) - 1, 0, NUM_BINS - 1)
    return np.where(is_valid, at, -1)


def _mean(values: np.ndarray) -> float | None:
    return float(np.mean(values, dtype=np.float64)) if len(values) else None
