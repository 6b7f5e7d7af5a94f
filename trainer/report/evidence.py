"""What is known of a run when its page is drawn; found out by gather.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trainer.engine.scored_examples import ScoredExamples
from trainer.workdir.curves import Curves

Place = tuple[str, int]  # a split, and where in its order


class Split(NamedTuple):
    """One split of the data.

    Attributes:
        name: as the flag names it.
        role: "training", "validation" or "test".
        num_examples: how many it holds, broken ones too.
        label_counts: int64 [classes]; None where counting would take too long.
    """

    name: str
    role: str
    num_examples: int
    label_counts: np.ndarray | None


class ReportImage(NamedTuple):
    """An example as it is shown.

    Attributes:
        id: what the source calls it.
        label: its class, by number.
        uri: a small JPEG as a data URI; "" where there is none.
    """

    id: str
    label: int
    uri: str


class NearDuplicate(NamedTuple):
    """Two pictures that are one.

    Attributes:
        validation, train: places in the splits.
        cosine: of their features, see duplicates.nearest.
        is_exact: whether the files are the same, byte for byte.
    """

    validation: int
    train: int
    cosine: float
    is_exact: bool


class SuspectLabel(NamedTuple):
    """A label worth a second look.

    Attributes:
        at: which example.
        suggestion: the class it seems to be of, by number.
        confidence: in the suggestion.
        label_probability: what is left for the label.
    """

    at: Place
    suggestion: int
    confidence: float
    label_probability: float


@dataclasses.dataclass(frozen=True)
class ReportData:
    """All that a page is drawn from.

    Attributes:
        workdir: of the run.
        metrics: as in `metrics.json`; empty where there is none.
        settings: as in `config.json`.
        curves: see curves.read.
        splits: the training split first.
        scored: the validation split's examples, where it was evaluated.
        ids: of the validation split's examples, in its order.
        near_duplicates: the nearest first.
        suspect_labels: the most certain first, all of them.
        pictures: of the examples to be shown.
        remarks: what was not looked for, by section, and why.
    """

    workdir: str
    metrics: Mapping[str, Any]
    settings: Mapping[str, Any]
    curves: Curves
    splits: Sequence[Split] = ()
    scored: ScoredExamples | None = None
    ids: Sequence[str] = ()
    near_duplicates: Sequence[NearDuplicate] = ()
    suspect_labels: Sequence[SuspectLabel] = ()
    pictures: Mapping[Place, ReportImage] = dataclasses.field(default_factory=dict)
    remarks: Mapping[str, str] = dataclasses.field(default_factory=dict)
