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
_ROWS = 4096  # of features at a time
_RIDGE = 0.1  # of the features' mean variance


def find(scored: Scored, num_classes: int) -> np.ndarray:
    """The places of probable mislabels, the most certain first.

    Of the paper's candidates those where the other class is the predicted one; in the order of the
    paper's normalized margin.

    Args:
        scored: by a model that has not been trained on these examples.
        num_classes: how many there are.

    Returns:
        int64 [found].
    """
    own = np.where(scored.is_scored, scored.label_probability, np.nan).astype(np.float64)
    thresholds = np.full(num_classes, np.inf)
    for label in np.unique(scored.label[scored.is_scored]):
        thresholds[label] = np.nanmean(own[scored.is_scored & (scored.label == label)])
    sound = np.isfinite(own) & np.isfinite(scored.confidence)
    doubted = sound & scored.is_wrong & (scored.confidence >= thresholds[scored.prediction])
    places = np.flatnonzero(doubted)
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
        of all examples; a row of the confidences is not what a softmax would say.
    """
    places = np.flatnonzero(is_good)
    blocks = [places[i : i + _ROWS] for i in range(0, len(places), _ROWS)]
    result = Scored.none_of(len(labels))
    result.label[:], result.is_scored[:] = labels, is_good
    if not blocks:
        return result
    # A rehearsed order, so that a fold is no stretch of one class.
    fold = np.random.default_rng(0).permutation(len(labels)) % NUM_FOLDS
    center = np.mean(rows(blocks[0]), axis=0, dtype=np.float64).astype(np.float32)
    width = len(center) + 1
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
    for block in blocks:
        whole = _with_one(rows(block) - center)
        scores = np.empty([len(block), num_classes])
        for number in range(NUM_FOLDS):
            own = fold[block] == number
            scores[own] = whole[own] @ weights[number]
        scores = np.clip(scores, 1e-6, None)
        scores /= scores.sum(axis=1, keepdims=True)
        result.prediction[block] = scores.argmax(axis=1)
        result.confidence[block] = scores.max(axis=1)
        result.label_probability[block] = scores[np.arange(len(block)), labels[block]]
    return result


def _solve(products: np.ndarray, targets: np.ndarray, left_out: int) -> np.ndarray:
    product = products.sum(axis=0) - products[left_out]
    target = targets.sum(axis=0) - targets[left_out]
    ridge = _RIDGE * np.trace(product) / len(product) + 1e-9
    return np.linalg.solve(product + ridge * np.eye(len(product)), target)


def _with_one(features: np.ndarray) -> np.ndarray:
    return np.concatenate([features, np.ones([len(features), 1], np.float32)], axis=1)
