"""Calibration, mislabels and duplicates, on what was planted."""

import numpy as np
import pytest

from tests.inputs.evidence import scored
from trainer.engine.scored_examples import ScoredExamples
from trainer.report import calibration, duplicates, mislabels
from trainer.report.mislabels import LabeledFeatures


def test_calibration_by_hand():
    judged = scored([0, 0, 0, 1], [0, 0, 1, 1], [0.95, 0.85, 0.85, 1.0])
    bins = calibration.reliability(judged)
    assert [b["num_examples"] for b in bins] == [0] * 8 + [2, 2]
    assert bins[8]["accuracy"] == 0.5
    assert bins[9]["confidence"] == pytest.approx(0.975)
    expected = (2 * 0.35 + 2 * 0.025) / 4
    assert calibration.expected_calibration_error(judged) == pytest.approx(expected)


def test_a_bin_holds_its_upper_end():
    bins = calibration.reliability(scored([0, 0, 0], [0, 0, 0], [0.0, 0.5, 1.0]))
    assert [b["num_examples"] for b in bins] == [1, 0, 0, 0, 1, 0, 0, 0, 0, 1]


def test_what_has_no_confidence_is_in_no_bin():
    judged = scored([0, 0], [0, 0], [np.nan, 0.5])
    assert sum(b["num_examples"] for b in calibration.reliability(judged)) == 1
    assert calibration.expected_calibration_error(ScoredExamples.none_of(3)) is None


def test_columns_keep_every_bit():
    judged = scored([0, 2], [1, 2], [1 / 3, 0.7])
    back = ScoredExamples.from_columns(judged.columns())
    for name in ("label", "prediction", "confidence", "label_probability", "is_scored"):
        assert getattr(back, name).dtype == getattr(judged, name).dtype
        assert getattr(back, name).tolist() == getattr(judged, name).tolist()


def test_a_label_is_doubted_where_another_class_is_as_sure_as_of_its_own():
    # Class 1's own examples get 0.7 on average; only the fourth example reaches that.
    judged = scored([1, 1, 0, 0], [1, 1, 1, 1], [0.8, 0.6, 0.65, 0.9])
    assert mislabels.confident(judged, 2).tolist() == [3]


def test_no_label_is_doubted_for_a_class_without_examples_or_without_a_number():
    assert mislabels.confident(scored([0, 0], [0, 1], [0.9, 0.99]), 2).tolist() == []
    assert mislabels.confident(scored([0, 1], [1, 1], [np.nan, 0.5]), 2).tolist() == []
    assert mislabels.confident(ScoredExamples.none_of(4), 3).tolist() == []


def clouds(seed, count, num_classes, width=24, spread=0.4):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, count)
    centers = np.random.default_rng(0).normal(0, 1, (num_classes, width))
    return (centers[labels] + rng.normal(0, spread, (count, width))).astype(np.float32), labels


def regression(features, labels, is_good=None):
    is_good = np.ones(len(labels), bool) if is_good is None else is_good
    train = LabeledFeatures(lambda indices: features[indices], labels, is_good)
    return mislabels.Regression(train, labels.max() + 1)


def planted(seed, count, num_classes, num_planted):
    """Features, labels of which some are wrong, the truth, and which are wrong."""
    features, truth = clouds(seed, count, num_classes)
    wrong = np.random.default_rng(seed).choice(count, num_planted, replace=False)
    labels = truth.copy()
    labels[wrong] = (labels[wrong] + 1) % num_classes
    return features, labels, truth, wrong


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_planted_mislabels_are_found_without_having_learnt_them(seed):
    features, labels, truth, wrong = planted(seed, 400, 4, 12)
    judged = regression(features, labels).judge_training_labels()
    assert set(mislabels.beyond_margin(judged)) == set(wrong), f"seed {seed}"
    assert (judged.prediction[wrong] == truth[wrong]).all()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_planted_mislabels_of_another_split_are_found(seed):
    features, labels, truth, wrong = planted(seed, 60, 4, 2)
    of_train = regression(*clouds(seed + 10, 400, 4))
    judged = of_train.judge_labels(
        LabeledFeatures(lambda p: features[p], labels, np.ones(60, bool))
    )
    assert set(mislabels.beyond_margin(judged)) == set(wrong), f"seed {seed}"
    assert (judged.prediction[wrong] == truth[wrong]).all()


def test_clean_labels_are_left_alone():
    assert (
        mislabels.beyond_margin(regression(*clouds(1, 400, 4)).judge_training_labels()).tolist()
        == []
    )


def test_bad_images_are_judged_by_nobody():
    features, labels = clouds(1, 60, 3)
    features[5] = np.nan
    is_good = np.ones(60, bool)
    is_good[5] = False
    judged = regression(features, labels, is_good).judge_training_labels()
    assert judged.is_scored.tolist() == is_good.tolist()
    assert np.isfinite(judged.confidence[is_good]).all()
    nobody = regression(features, labels, np.zeros(60, bool)).judge_training_labels()
    assert mislabels.beyond_margin(nobody).tolist() == []


def test_blocks_change_nothing(monkeypatch):
    features, labels = clouds(4, 101, 3)
    whole = regression(features, labels).judge_training_labels()
    near = duplicates.nearest(lambda p: features[p], np.ones(101, bool), features[:9] + 0.01)
    monkeypatch.setattr(duplicates, "_ROWS", 7)
    monkeypatch.setattr(mislabels, "_ROWS", 7)
    again = duplicates.nearest(lambda p: features[p], np.ones(101, bool), features[:9] + 0.01)
    assert near[0].tolist() == again[0].tolist() == list(range(9))
    assert (whole.prediction == labels).mean() > 0.9
    in_blocks = regression(features, labels).judge_training_labels()
    assert in_blocks.prediction.tolist() == whole.prediction.tolist()
    assert in_blocks.confidence.tolist() == pytest.approx(whole.confidence.tolist(), abs=1e-3)


def test_the_nearest_is_found_and_a_bad_image_is_nobodys():
    features, _ = clouds(5, 50, 5)
    is_good = np.ones(50, bool)
    indices, cosines = duplicates.nearest(lambda p: features[p], is_good, features[[3, 30]])
    assert indices.tolist() == [3, 30]
    assert cosines.tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    is_good[30] = False
    indices, cosines = duplicates.nearest(lambda p: features[p], is_good, features[[3, 30]])
    assert indices[0] == 3
    assert indices[1] != 30
    assert cosines[1] < 0.95


def test_nothing_is_near_nothing():
    features, _ = clouds(6, 5, 2)
    indices, _ = duplicates.nearest(lambda p: features[p], np.zeros(5, bool), features[:2])
    assert indices.tolist() == [-1, -1]
    assert len(duplicates.nearest(lambda p: features[p], np.ones(5, bool), features[:0])[0]) == 0
