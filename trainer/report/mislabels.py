"""Examples whose label is probably wrong.

Confident learning: Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset
Labels", JAIR 2021. Where a model that has not seen an example gives another class at least the
probability that this class's own examples get on average, the label is in doubt.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trainer.scored import Scored

NUM_FOLDS = 5
IMPOSSIBLE = 0.05  # by `out_of_sample`; see find
_ROWS = 4096  # of features at a time
_RIDGE = 0.3  # of the features' mean variance


def find(scored: Scored, num_classes: int, impossible: float = 0.0) -> np.ndarray:
    """The places of probable mislabels, the most certain first.

    Of the paper's candidates those where the other class is the predicted one; in the order of the
    paper's normalized margin.

    Args:
        scored: by a model that has not been trained on these examples.
        num_classes: how many there are.
        impossible: a label of less probability is in doubt whatever the other class's own
            examples get; for a model whose scores are probabilities.

    Returns:
        int64 [found].
    """
    own = np.where(scored.is_scored, scored.label_probability, np.nan).astype(np.float64)
    thresholds = np.full(num_classes, np.inf)
    sound = np.isfinite(own) & np.isfinite(scored.confidence)
    for label in np.unique(scored.label[sound]):
        thresholds[label] = own[sound & (scored.label == label)].mean()
    looks_alike = scored.confidence >= thresholds[scored.prediction]
    is_doubted = sound & scored.is_wrong & (looks_alike | (own < impossible))
    places = np.flatnonzero(is_doubted)
    margin = own[places] - scored.confidence[places]
    return places[np.argsort(margin, kind="stable")]


def out_of_sample(
    rows: Callable[[np.ndarray], np.ndarray],
    labels: np.ndarray,
    is_good: np.ndarray,
    num_classes: int,
) -> Scored:
    """What least squares on an example's features say of it, fitted to the other folds.

    A regression on the classes' indicators estimates their probabilities (Hastie, Tibshirani,
    Friedman, "The Elements of Statistical Learning", 4.2), and leaving a fold out is a subtraction
    of sums: five models for little more than the price of one.

    Args:
        rows: places int64 [n] -> float32 [n, width].
        labels: int64 [examples].
        is_good: bool [examples]; the others are left out.
        num_classes: how many there are.

    Returns:
        of all examples, with probabilities that are scaled to fit the labels.
    """
    places = np.flatnonzero(is_good)
    blocks = [places[i : i + _ROWS] for i in range(0, len(places), _ROWS)]
    result = Scored.none_of(len(labels))
    result.label[:], result.is_scored[:] = labels, is_good
    if not blocks:
        return result
    # A rehearsed order, so that a fold is no stretch of one class.
    fold = np.random.default_rng(0).permutation(len(labels)) % NUM_FOLDS
    first = rows(blocks[0])
    center, width = first.mean(axis=0, dtype=np.float64).astype(np.float32), first.shape[1] + 1
    products = np.zeros([NUM_FOLDS, width, width])
    targets = np.zeros([NUM_FOLDS, width, num_classes])
    for block in blocks:
        whole = _with_one(rows(block) - center)
        for number in range(NUM_FOLDS):
            own = fold[block] == number
            features = whole[own]
            indicators = np.eye(num_classes, dtype=np.float32)[labels[block][own]]
            products[number] += features.T @ features
            targets[number] += features.T @ indicators
    weights = [_solve(products, targets, left_out) for left_out in range(NUM_FOLDS)]
    scale = 0.0
    for block in blocks:
        whole = _with_one(rows(block) - center)
        scores = np.empty([len(block), num_classes])
        for number in range(NUM_FOLDS):
            own = fold[block] == number
            scores[own] = whole[own] @ weights[number]
        scale = scale or _scale(scores, labels[block])
        scores = _softmax(scale * scores)
        result.prediction[block] = scores.argmax(axis=1)
        result.confidence[block] = scores.max(axis=1)
        result.label_probability[block] = scores[np.arange(len(block)), labels[block]]
    return result


def _scale(scores: np.ndarray, labels: np.ndarray) -> float:
    """Of the scores, by which their softmax fits the labels best: Guo et al., ICML 2017."""
    rows = np.arange(len(labels))

    def likelihood(scale: float) -> float:
        return float(np.log(np.maximum(_softmax(scale * scores)[rows, labels], 1e-12)).mean())

    return max(np.geomspace(1, 100, 25).tolist(), key=likelihood)


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _solve(products: np.ndarray, targets: np.ndarray, left_out: int) -> np.ndarray:
    product = products.sum(axis=0) - products[left_out]
    target = targets.sum(axis=0) - targets[left_out]
    ridge = _RIDGE * np.trace(product) / len(product) + 1e-9
    return np.linalg.solve(product + ridge * np.eye(len(product)), target)


def _with_one(features: np.ndarray) -> np.ndarray:
    return np.concatenate([features, np.ones([len(features), 1], np.float32)], axis=1)
