"""A model's predictions of each example of a split."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class ScoredExamples:
    """Examples with their labels and a model's predictions, in the split's order.

    Attributes:
        label: int64 [n].
        prediction: int64 [n], the class of the highest score.
        confidence: float32 [n], its softmax score.
        label_probability: float32 [n], the softmax score of the label.
        is_scored: bool [n]; False where the image is broken.
    """

    label: np.ndarray
    prediction: np.ndarray
    confidence: np.ndarray
    label_probability: np.ndarray
    is_scored: np.ndarray

    @classmethod
    def none_of(cls, num_examples: int) -> ScoredExamples:
        """Return so many examples that are not scored."""
        label, prediction = np.zeros([2, num_examples], np.int64)
        confidence, probability = np.zeros([2, num_examples], np.float32)
        return cls(label, prediction, confidence, probability, np.zeros(num_examples, bool))

    @property
    def is_correct(self) -> np.ndarray:
        """Bool [n]: scored, and predicted as the label."""
        return self.is_scored & (self.prediction == self.label)

    @property
    def is_wrong(self) -> np.ndarray:
        """Bool [n]: scored, and predicted as another class."""
        return self.is_scored & (self.prediction != self.label)

    def at(self, indices: np.ndarray) -> ScoredExamples:
        """Select the examples of `indices`, int64 [m]."""
        return ScoredExamples(*(getattr(self, f.name)[indices] for f in _FIELDS))

    def columns(self) -> np.ndarray:
        """Return all fields as float64 [5, n]: exact, and summable over workers."""
        return np.stack([np.asarray(getattr(self, f.name), float) for f in _FIELDS])

    @classmethod
    def from_columns(cls, columns: np.ndarray) -> ScoredExamples:
        """Invert `columns`."""
        types = (np.int64, np.int64, np.float32, np.float32, bool)
        return cls(*(c.astype(t) for c, t in zip(columns, types, strict=True)))


_FIELDS = dataclasses.fields(ScoredExamples)
