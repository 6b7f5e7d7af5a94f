"""The worst mistakes of an evaluation, by the examples' indices in the split."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

NUM_WORST = 8


class Mistake(NamedTuple):
    """One example that was predicted as another class.

    Attributes:
        loss: its cross-entropy in nats; its label's probability was exp(-loss).
        example_index: in the split's order without shuffling.
        label, prediction: indices of classes.
    """

    loss: float
    example_index: int
    label: int
    prediction: int


def worst(
    losses: np.ndarray, indices: np.ndarray, labels: np.ndarray, predictions: np.ndarray
) -> list[Mistake]:
    """Return the NUM_WORST mistakes of highest loss, the worst first; each argument is [examples].

    A NaN loss comes first.
    """
    (wrong,) = np.nonzero(labels != predictions)
    badness = np.where(np.isnan(losses[wrong]), np.inf, losses[wrong])
    # Equal losses are sorted by index, whatever the order of the replicas.
    chosen = wrong[np.lexsort((indices[wrong], -badness))][:NUM_WORST]
    columns = losses[chosen], indices[chosen], labels[chosen], predictions[chosen]
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [Mistake(float(loss), *rest) for loss, *rest in rows]


def worst_of(mistakes: Iterable[Mistake]) -> list[Mistake]:
    """Return the NUM_WORST of `mistakes`, the worst first."""
    rows = list(mistakes)
    if not rows:
        return []
    losses, indices, labels, predictions = (np.array(column) for column in zip(*rows, strict=True))
    return worst(losses, indices, labels, predictions)


def to_facts(mistakes: Iterable[Mistake]) -> dict[str, str]:
    """Encode mistakes to exchange them between workers; see from_facts."""
    return {str(mistake.example_index): json.dumps(mistake) for mistake in mistakes}


def from_facts(facts: Mapping[str, str]) -> list[Mistake]:
    """Return the NUM_WORST mistakes of all workers, the worst first."""
    return worst_of(Mistake(*json.loads(text)) for text in facts.values())
