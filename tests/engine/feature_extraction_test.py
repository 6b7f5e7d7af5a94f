"""Batches that are computed side by side are those that are computed one by one."""

import io

import numpy as np
import pytest
import tensorflow as tf

from tests.inputs import jpegs
from trainer.data.decode.decode_checked import BadImages
from trainer.data.input_pipeline import EXTRACTION_BATCH, InputPipeline
from trainer.data.sources.folder_source import open_folder
from trainer.engine import strategy as strategies
from trainer.engine.feature_extraction import Extraction
from trainer.process.console import JsonReporter
from trainer.process.errors import Preempted
from trainer.process.stop_signal import StopRequest
from trainer.workers.group import WorkerGroup

pytestmark = pytest.mark.integration

SIZE = (32, 32)
NUM_IMAGES, NUM_PARTS = 150, 4
NAMES = "features", "labels"
SIZES = {0: 37, 1: 38, 2: 37, 3: 38}


@pytest.fixture(scope="module")
def extraction(tmp_path_factory):
    root = jpegs.write_folder(tmp_path_factory.mktemp("images"), train=50, validation=1)
    pipeline = InputPipeline(open_folder(str(root)), 8, 4, 0, SIZE, BadImages(), "none")
    kernel = tf.random.stateless_normal([3, 3, 3, 16], [0, 0])

    def features(images):
        return tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(images, kernel, 2, "SAME")), [1, 2])

    return Extraction(
        pipeline=pipeline,
        strategy=tf.distribute.OneDeviceStrategy("CPU:0"),
        features=features,
        stop=StopRequest(),
        reporter=JsonReporter(io.StringIO()),
        workers=WorkerGroup(),
        before_reading=lambda: None,
    )


def side_by_side(extraction, precision):
    parts = dict(extraction.shards("train", SIZES, NUM_PARTS, precision))
    assert list(parts) == [0, 1, 2, 3]
    return [np.concatenate([getattr(part, name) for part in parts.values()]) for name in NAMES]


@pytest.fixture(scope="module")
def batches(extraction):
    num_steps = -(-NUM_IMAGES // EXTRACTION_BATCH)
    return list(
        extraction.pipeline.extraction_batches("train", [[0, 1, 2, 3]], NUM_PARTS, num_steps)
    )


def one_by_one(extraction, batches, precision):
    compute = tf.function(extraction.features, autograph=False)
    with strategies.arithmetic(precision):
        rows = [(compute(b["input"]).numpy(), b["label"].numpy()) for b in batches]
    return [np.concatenate(column)[:NUM_IMAGES] for column in zip(*rows, strict=True)]


def test_every_batch_is_computed_in_the_arithmetic_that_is_asked_for(extraction, batches):
    found = {name: side_by_side(extraction, name) for name in ("mixed_bfloat16", "float32")}
    for precision, columns in found.items():
        for column, expected in zip(
            columns, one_by_one(extraction, batches, precision), strict=True
        ):
            np.testing.assert_array_equal(column, expected)
    if {"avx512_bf16", "amx_bf16"} & strategies.cpu_flags():
        half, single = found["mixed_bfloat16"][0], found["float32"][0]
        assert not (half == single).all(axis=1).any()  # in no row
        np.testing.assert_allclose(half, single, rtol=0.03, atol=0.01)


def test_a_stop_is_answered_before_the_next_batch(extraction):
    parts = extraction.shards("train", SIZES, NUM_PARTS, "float32")
    assert next(parts)[0] == 0
    extraction.stop.record(15)
    with pytest.raises(Preempted, match="while computing features"):
        list(parts)
