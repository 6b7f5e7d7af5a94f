"""Find suspect labels with models that were not trained on the examples they judge.

With features, by least squares: a regression on the classes' indicators estimates their
probabilities (Hastie, Tibshirani, Friedman, "The Elements of Statistical Learning", 4.2), and
leaving a fold out subtracts its sums: five models cost little more than one.
Without, by the run's own model and confident learning: Northcutt, Jiang, Chuang, "Confident
Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from trainer.engine.scored_examples import ScoredExamples

NUM_FOLDS = 5

# Least margin of another class's estimate over the label's. Softmax scores, once fitted, would be
# the more certain, and flag the more images, the fewer labels are wrong.
MIN_MARGIN = 0.5
_ROWS = 4096  # of features at a time
_RIDGE = 0.3  # of the features' mean variance


class LabeledFeatures(NamedTuple):
    """The features of a split.

    Attributes:
        rows: indices int64 [n] -> float32 [n, width].
        labels: int64 [examples].
        is_good: bool [examples]; other examples are left out.
    """

    rows: Callable[[np.ndarray], np.ndarray]
    labels: np.ndarray
    is_good: np.ndarray


class Regression:
    """Least squares from features to classes, each fold left out once.

    Args:
        train: what it is fitted to.
        num_classes: how many there are.
    """

    def __init__(self, train: LabeledFeatures, num_classes: int) -> None:
        self._train = train
        self._num_classes = num_classes
        # A fixed random order, so that no fold consists of one class.
        self._fold = np.random.default_rng(0).permutation(len(train.labels)) % NUM_FOLDS
        self._center: np.ndarray | None = None
        for indices in _blocks(train):
            rows = train.rows(indices)
            if self._center is None:
                self._center = rows.mean(axis=0, dtype=np.float64).astype(np.float32)  # about
                width = rows.shape[1] + 1
                self._products = np.zeros([NUM_FOLDS, width, width])
                self._targets = np.zeros([NUM_FOLDS, width, num_classes])
            features = self._with_one(rows)
            indicators = np.eye(num_classes, dtype=np.float32)[train.labels[indices]]
            for number in range(NUM_FOLDS):
                own = self._fold[indices] == number
                self._products[number] += features[own].T @ features[own]
                self._targets[number] += features[own].T @ indicators[own]

    def judge_training_labels(self) -> ScoredExamples:
        """Score each training example by the model of the other folds."""
        return self._judge(self._train, self._fold)

    def judge_labels(self, others: LabeledFeatures) -> ScoredExamples:
        """Score examples that the model was not fitted to."""
        return self._judge(others, np.full(len(others.labels), NUM_FOLDS))

    def _judge(self, examples: LabeledFeatures, left_out: np.ndarray) -> ScoredExamples:
        """Score with estimates clipped to [0, 1]; `left_out` is a fold or NUM_FOLDS."""
        result = ScoredExamples.none_of(len(examples.labels))
        result.label[:] = examples.labels
        if self._center is None:
            return result
        result.is_scored[:] = examples.is_good
        weights = {int(number): self._solve(int(number)) for number in np.unique(left_out)}
        for indices in _blocks(examples):
            features = self._with_one(examples.rows(indices))
            estimates = np.empty([len(indices), self._num_classes])
            for number, of_fold in weights.items():
                own = left_out[indices] == number
                estimates[own] = features[own] @ of_fold
            result.prediction[indices] = estimates.argmax(axis=1)
            result.confidence[indices] = estimates.max(axis=1).clip(0, 1)
            of_label = estimates[np.arange(len(indices)), examples.labels[indices]]
            result.label_probability[indices] = of_label.clip(0, 1)
        return result

    @functools.cached_property
    def _sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the sums of products and targets over all folds."""
        return self._products.sum(axis=0), self._targets.sum(axis=0)

    def _solve(self, left_out: int) -> np.ndarray:
        """Return the weights of the other folds, [width + 1, classes], the intercept last."""
        product, target = self._sums
        if left_out < NUM_FOLDS:
            product = product - self._products[left_out]
            target = target - self._targets[left_out]
        count, mean = product[-1, -1], product[:-1, -1] / product[-1, -1]
        prior = target[-1] / count
        # Centered at their own mean, whatever the order of blocks; the intercept is not penalized.
        spread = np.outer(-count * mean, mean)
        spread += product[:-1, :-1]
        spread[np.diag_indices_from(spread)] += _RIDGE * np.trace(spread) / len(spread) + 1e-9
        # In single precision, for which the ridge bounds the condition: (width + 0.3) / 0.3.
        moments = target[:-1] - count * np.outer(mean, prior)
        slopes = np.linalg.solve(spread.astype(np.float32), moments.astype(np.float32))
        return np.concatenate([slopes, (prior - mean @ slopes)[None]])

    def _with_one(self, rows: np.ndarray) -> np.ndarray:
        return np.concatenate([rows - self._center, np.ones([len(rows), 1], np.float32)], axis=1)


def beyond_margin(scored: ScoredExamples) -> np.ndarray:
    """Return the indices of suspect labels by a Regression's estimates, the largest margin first.

    Returns:
        int64 [found].
    """
    margin = scored.confidence - scored.label_probability
    return _by_margin(scored, scored.is_wrong & (margin >= MIN_MARGIN))


def confident(scored: ScoredExamples, num_classes: int) -> np.ndarray:
    """Return the same by the run's own model: the candidates of confident learning.

    These are predicted as another class with at least the mean probability that this class's own
    examples get for it; in the order of the paper's normalized margin.

    Args:
        scored: by a model that has not been trained on these examples.
        num_classes: how many there are.

    Returns:
        int64 [found].
    """
    own = np.where(scored.is_scored, scored.label_probability, np.nan).astype(np.float64)
    thresholds = np.full(num_classes, np.inf)
    is_valid = np.isfinite(own) & np.isfinite(scored.confidence)
    for label in np.unique(scored.label[is_valid]):
        thresholds[label] = own[is_valid & (scored.label == label)].mean()
    is_confident = scored.confidence >= thresholds[scored.prediction]
    return _by_margin(scored, is_valid & scored.is_wrong & is_confident)


def _by_margin(scored: ScoredExamples, is_suspect: np.ndarray) -> np.ndarray:
    indices = np.flatnonzero(is_suspect)
    margin = scored.label_probability[indices] - scored.confidence[indices]
    return indices[np.argsort(margin, kind="stable")]


def _blocks(examples: LabeledFeatures) -> Iterator[np.ndarray]:
    indices = np.flatnonzero(examples.is_good)
    for begin in range(0, len(indices), _ROWS):
        yield indices[begin : begin + _ROWS]
