"""Figures of an evaluation, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from trainer.engine.evaluate import Evaluation, Evaluator


def test_figures_of_a_confusion_matrix():
    confusion = np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    found = Evaluation(0.5, confusion, ("a", "b", "c")).to_dict()
    assert found["num_examples"] == 6
    assert found["accuracy"] == pytest.approx(5 / 6)
    assert found["per_class"]["a"] == {"num_examples": 4, "precision": 1.0, "recall": 0.75}
    assert found["per_class"]["b"]["precision"] == pytest.approx(2 / 3)
    assert found["per_class"]["c"] == {"num_examples": 0, "precision": None, "recall": None}


def evaluator(should_stop=lambda: False):
    """Two batches of two; the image of an example is its logits; the last one is padding."""
    logits = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [9.0, 9.0]], np.float32)
    batches = tf.data.Dataset.from_tensor_slices(
        {"input": logits, "label": np.array([0, 0, 1, 0], np.int64), "weight": [1.0, 1, 1, 0]}
    )
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    repeated = strategy.experimental_distribute_dataset(batches.batch(2).repeat())
    return Evaluator(strategy, lambda x: x, iter(repeated), 2, ("a", "b"), should_stop)


def test_padding_does_not_count_and_each_pass_is_whole():
    scorer = evaluator()
    for _ in range(3):
        found = scorer.run()
        assert found is not None
        assert found.confusion.tolist() == [[1, 1], [1, 0]]
        losses = [np.log(1 + np.exp(-2)), np.log(1 + np.exp(1)), np.log(1 + np.exp(3))]
        assert found.loss == pytest.approx(np.mean(losses), rel=1e-6)


def test_it_stops_between_batches_when_asked():
    assert evaluator(should_stop=lambda: True).run() is None


def test_each_example_is_told_with_its_place():
    logits = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [9.0, 9.0]], np.float32)
    batches = tf.data.Dataset.from_tensor_slices(
        {"input": logits, "label": np.array([0, 0, 1, 0], np.int64), "weight": [1.0, 1, 1, 0]}
    )
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    batches = iter(strategy.experimental_distribute_dataset(batches.batch(2).repeat()))
    indices = np.array([[3, 1], [0, 3]])
    scorer = Evaluator(
        strategy, lambda x: x, batches, 2, ("a", "b"), lambda: False, None, indices, 4
    )
    plain, found = scorer.run(), scorer.run(keep_scored=True)
    assert plain is not None
    assert plain.scored is None
    assert found is not None
    assert found.scored is not None
    assert found.scored.is_scored.tolist() == [True, True, False, True]
    assert found.scored.label.tolist() == [1, 0, 0, 0]
    assert found.scored.prediction.tolist() == [0, 1, 0, 0]
    sigmoid = [1 / (1 + np.exp(-x)) for x in (3, 1, 2)]
    assert found.scored.confidence[[0, 1, 3]].tolist() == pytest.approx(sigmoid)
    expected = [1 - sigmoid[0], 1 - sigmoid[1], sigmoid[2]]
    assert found.scored.label_probability[[0, 1, 3]].tolist() == pytest.approx(expected)
