"""The embedded backbone itself, written by three processes at once, of which one is killed."""

import numpy as np
import tensorflow as tf

from tests.inputs.saved_models import load
from tests.models.handles_test import model_of_a_kill_and_a_race


def test_a_kill_and_a_race_leave_one_whole_model(tmp_path, cache_dir, gates):
    model = model_of_a_kill_and_a_race(tmp_path / "cache", gates, "embedded")
    images = tf.random.stateless_uniform([1, 224, 224, 3], [1, 2])
    expected = load("efficientnet_lite0", cache_dir)(images)
    assert np.array_equal(load(model)(images), expected)
