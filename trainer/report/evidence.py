"""The data of a run that its page is built from; collected by gather.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trainer.engine.scored_examples import ScoredExamples
from trainer.workdir.curves import Curves

ExampleKey = tuple[str, int]  # a split, and an index in it


class Split(NamedTuple):
    """One split of the data.

    Attributes:
        name: as the flag names it.
        role: "training", "validation" or "test".
        num_examples: with the broken ones.
        label_counts: int64 [classes]; None if counting would take too long.
    """

    name: str
    role: str
    num_examples: int
    label_counts: np.ndarray | None


class ReportImage(NamedTuple):
    """An example as the page shows it.

    Attributes:
        id: given by the source.
        label: its class, by number.
        uri: a small JPEG as a data URI; "" if it cannot be decoded.
    """

    id: str
    label: int
    uri: str


class NearDuplicate(NamedTuple):
    """A validation image that is also a training image.

    Attributes:
        validation, train: indices in the splits.
        cosine: of their features, see duplicates.nearest.
        is_exact: whether the files are the same, byte for byte.
    """

    validation: int
    train: int
    cosine: float
    is_exact: bool


class SuspectLabel(NamedTuple):
    """A label that may be wrong.

    Attributes:
        at: the example.
        suggestion: the more probable class, by number.
        confidence: in the suggestion.
        label_probability: the probability of the label.
    """

    at: ExampleKey
    suggestion: int
    confidence: float
    label_probability: float


@dataclasses.dataclass(frozen=True)
class ReportData:
    """All that a page is built from.

    Attributes:
        workdir: of the run.
        metrics: as in `metrics.json`; empty if there is none.
        settings: as in `config.json`.
        curves: see curves.read.
        splits: the training split first.
        scored: the validation split's examples, if it was evaluated.
        ids: of the validation split's examples, in its order.
        near_duplicates: the nearest first.
        suspect_labels: the most certain first, all of them.
        images: of the examples to be shown.
        remarks: by section, what was not checked, and why.
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
    images: Mapping[ExampleKey, ReportImage] = dataclasses.field(default_factory=dict)
    remarks: Mapping[str, str] = dataclasses.field(default_factory=dict)
