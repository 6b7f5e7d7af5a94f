"""Feature caches of a network that is a mean and a spread, and what is asserted of them."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.data.decode.decode_checked import BadImages
from trainer.data.input_pipeline import InputPipeline
from trainer.data.sources.folder_source import open_folder
from trainer.engine.feature_cache import FeatureCache
from trainer.engine.feature_extraction import Extraction
from trainer.process.console import JsonReporter
from trainer.process.stop_signal import StopRequest
from trainer.workers.group import WorkerGroup

SIZE, WIDTH = (12, 10), 6
NUM_TRAIN = 51  # 3 × 17: two batches, and parts of 6 and 7


def colours(images):
    """float32 [n, 6]: an image's mean and its spread in each channel."""
    return tf.concat([tf.reduce_mean(images, [1, 2]), tf.math.reduce_std(images, [1, 2])], 1)


def open_cache(root, data, skip=False, augment="none", seed=0, **changes):
    source = open_folder(str(data)) if not hasattr(data, "examples") else data
    pipeline = InputPipeline(source, 8, 4, seed, SIZE, BadImages(skip), augment)
    settings: dict[str, Any] = {
        "pipeline": pipeline,
        "strategy": tf.distribute.OneDeviceStrategy("CPU:0"),
        "features": colours,
        "stop": StopRequest(),
        "reporter": JsonReporter(io.StringIO()),
        "workers": WorkerGroup(),
        "before_reading": lambda: None,
        **changes,
    }
    return FeatureCache(
        root=str(root),
        flag=str(settings.pop("flag", "feature_cache")),
        copies=str(settings.pop("copies", "/proc/graft")),
        computed_by=settings.pop("computed_by", {"backbone": "colours"}),
        num_features=settings.pop("num_features", WIDTH),
        extraction=Extraction(**settings),
    )


def said(cache):
    return [json.loads(line) for line in cache.extraction.reporter._stream.getvalue().splitlines()]


def counts(cache):
    """(cached, computed) parts of each table, in turn."""
    return [(w["parts_cached"], w["parts_computed"]) for w in said(cache) if "parts_cached" in w]


def first_line(cache):
    """What is said of the first table."""
    return next(line["message"] for line in said(cache) if "parts_cached" in line)


def rows(table):
    return table.rows(tf.range(len(table.is_good), dtype=tf.int64)).numpy()


def assert_same(table, other):
    np.testing.assert_array_equal(rows(table), rows(other))
    np.testing.assert_array_equal(table.labels, other.labels)
    np.testing.assert_array_equal(table.is_good, other.is_good)
    assert table.num_views == other.num_views


def assert_features_of(table, cache, split):
    """The table against the images as they are evaluated, in the split's order."""
    batches = cache.extraction.pipeline.evaluation_batches(split, [0], 1)
    steps = cache.extraction.pipeline.evaluation_steps(split, 1)
    columns: dict[str, list[np.ndarray]] = {"input": [], "label": []}
    for batch in batches.take(steps).as_numpy_iterator():
        for key in columns:
            columns[key].append(batch[key])
    n = cache.extraction.pipeline.source.num_examples(split)
    images, labels = (np.concatenate(column)[:n] for column in columns.values())
    np.testing.assert_allclose(rows(table), colours(tf.constant(images)), atol=1e-5)
    assert table.labels.tolist() == labels.tolist()


def parts_of(root):
    return sorted(Path(root).glob("*/part-*"))
