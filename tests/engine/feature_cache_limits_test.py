"""The feature cache where images are bad, memory is small, devices are many, and a stop comes."""

import json
import re
import shutil
import signal
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf

from tests.inputs import jpegs, tiny
from tests.processes.feature_caches import (
    NUM_TRAIN,
    assert_features_of,
    assert_same,
    colours,
    counts,
    open_cache,
    parts_of,
    rows,
)
from trainer.data import feature_shards
from trainer.data.sources.tfds_open import open_prepared
from trainer.engine import feature_cache
from trainer.process.errors import Preempted, UserError
from trainer.process.stop_signal import StopRequest

pytestmark = pytest.mark.integration

BAD = {"train/red/000.jpg": b"", "train/blue/003.jpg": b"text", "train/green/016.jpg": b"BM"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return jpegs.write_folder(tmp_path_factory.mktemp("größe 1"), train=17, validation=3)


@pytest.fixture(scope="module")
def broken(folder, tmp_path_factory):
    root = shutil.copytree(folder, tmp_path_factory.mktemp("data") / "broken")
    for name, content in BAD.items():
        (root / name).write_bytes(content)
    return root


@pytest.fixture(scope="module")
def filled(broken, tmp_path_factory):
    """A cache that a run has filled that skips what is bad, and its table; not to be changed."""
    cache = open_cache(tmp_path_factory.mktemp("filled"), broken, skip=True)
    return cache, cache.table("train", 0, "float32")


def test_skip_records_the_same_images_in_the_first_run_and_in_the_second(broken, filled):
    first, table = filled
    uncached = open_cache(first.root, broken, skip=True).extraction.pipeline
    for _ in uncached.evaluation_batches("train", [0], 1).take(7):
        pass
    reasons = uncached.bad_images.before_step(0)
    assert list(reasons) == sorted(BAD)
    second = open_cache(first.root, broken, skip=True)
    assert_same(table, second.table("train", 0, "float32"))
    for cache, expected in ((first, (0, 8)), (second, (8, 0))):
        assert cache.extraction.pipeline.bad_images.before_step(0) == reasons
        assert counts(cache) == [expected]
    assert table.is_good.sum() == NUM_TRAIN - len(BAD)
    assert not rows(table)[~table.is_good].any()
    source = first.extraction.pipeline.source
    examples = source.examples("train", 0, 1, shuffle=False).as_numpy_iterator()
    ids = [e["id"].decode() for e in examples]
    assert sorted(np.array(ids)[~table.is_good]) == sorted(BAD)


def test_a_bad_image_is_named_the_first_time(broken, tmp_path):
    cache = open_cache(tmp_path, broken)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        cache.table("train", 0, "float32")
    error = cache.extraction.pipeline.bad_images.user_error(caught.value)
    assert error is not None
    assert any(f"the image {name} cannot be decoded" in str(error) for name in BAD)


def test_a_bad_image_is_named_where_the_cache_was_filled_by_a_run_that_skips(broken, filled):
    first = min(BAD)
    cache = open_cache(filled[0].root, broken)
    with pytest.raises(UserError, match=f"the image {first} cannot be .*--bad_images=skip"):
        cache.table("train", 0, "float32")


def test_what_a_network_makes_of_no_image_does_not_count(broken, tmp_path):
    cache = open_cache(tmp_path, broken, skip=True, features=lambda x: colours(x) / colours(x))
    found = rows(cache.table("train", 0, "float32"))
    # Without an image there is no color to divide by.
    assert np.isfinite(found).all()
    assert (found == 0).all(1).sum() == len(BAD)


@pytest.mark.parametrize("views", [0, 2])
def test_larger_than_the_memory_that_is_made_small_here_reads_from_disk(
    views, folder, tmp_path, monkeypatch
):
    settings = {"augment": "light"} if views else {}
    expected = open_cache(tmp_path / "a", folder, **settings).table("train", views, "float32")
    monkeypatch.setattr(feature_cache, "_MEMORY_SHARE", 0.0)
    monkeypatch.setattr(feature_shards, "_from_memory", None)
    for _ in range(2):  # computed, and read
        cache = open_cache(tmp_path / "b", folder, **settings)
        table = cache.table("train", views, "float32")
        assert_same(table, expected)
    assert counts(cache) == [(8 * max(views, 1), 0)]
    # In a pipeline, as batches ask for them.
    indices = tf.data.Dataset.range(NUM_TRAIN).shuffle(NUM_TRAIN, seed=1).batch(17, True)
    for asked, found in indices.map(lambda p: (p, table.rows(p))).as_numpy_iterator():
        np.testing.assert_array_equal(found, rows(expected)[asked])


def test_rows_on_the_disk_are_not_kept_in_memory_that_is_made_small_here(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(feature_cache, "_MEMORY_SHARE", 0.0)
    wide = {"features": lambda x: tf.tile(colours(x), [1, 4000]), "num_features": 24_000}
    num_bytes = NUM_TRAIN * 24_000 * 4
    open_cache(tmp_path, folder, **wide).table("train", 0, "float32")
    cache = open_cache(tmp_path, folder, **wide)
    tracemalloc.start()
    try:
        table = cache.table("train", 0, "float32")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert counts(cache) == [(8, 0)]
    assert peak < num_bytes / 2  # two parts are a quarter of them
    assert rows(table).nbytes == num_bytes


def test_a_stop_keeps_what_is_committed(folder, tmp_path):
    class StopAfter(StopRequest):
        def __init__(self, batches):
            super().__init__()
            self.left = batches

        @property
        def requested(self):
            self.left -= 1
            if self.left < 0:
                self._signal = signal.SIGTERM
            return super().requested

    with pytest.raises(Preempted, match="stopped by SIGTERM while computing features") as caught:
        open_cache(tmp_path, folder, stop=StopAfter(1)).table("train", 0, "float32")
    assert caught.value.exit_code == 143
    committed = [path for path in parts_of(tmp_path) if path.suffix == ".json"]
    assert len(committed) == 5  # of 6, 6, 7, 6, 6 and 7, … out of 32
    times = {path: path.stat().st_mtime_ns for path in committed}
    cache = open_cache(tmp_path, folder)
    assert_features_of(cache.table("train", 0, "float32"), cache, "train")
    assert counts(cache) == [(5, 3)]
    assert {path: path.stat().st_mtime_ns for path in committed} == times


def test_fewer_records_than_the_description_says_are_an_error(tmp_path):
    directory = tiny.write_beans(tmp_path / "beans", num_shards=1)
    path = directory / "dataset_info.json"
    info = json.loads(path.read_text())
    for split in info["splits"]:
        split["shardLengths"] = [str(int(n) + 2) for n in split["shardLengths"]]
    path.write_text(json.dumps(info))
    source = open_prepared(str(directory), 16)
    assert source.num_examples("train") == 32
    with pytest.raises(UserError, match="holds fewer images than its description says"):
        open_cache(tmp_path / "cache", source).table("train", 0, "float32")


WAY_OUT = "; make room, name another --feature_cache, or train without one (--feature_cache=off)"


@pytest.mark.parametrize("flag", ["feature_cache", "cache_dir"])
def test_a_cache_that_cannot_be_written_is_named_with_its_flag(folder, flag):
    with pytest.raises(UserError) as caught:
        open_cache("/proc/graft", folder, flag=flag).table("train", 0, "float32")
    message = str(caught.value)
    assert re.match(rf"--{flag}=/proc/graft/51-\w+: must be a writable directory \(", message)
    assert message.endswith(WAY_OUT)


@pytest.mark.parametrize("free_pages", [0, 3])  # not even what it is of; some of the parts
def test_a_full_disk_is_named_with_a_way_out(folder, small_disk, free_pages):
    (small_disk / "other").write_bytes(bytes((16 - free_pages) * 4096))
    with pytest.raises(UserError) as caught:
        open_cache(small_disk, folder).table("train", 0, "float32")
    message = str(caught.value)
    assert re.match(rf"{small_disk}/51-\S+: No space left on device; it needs \d+ bytes;", message)
    assert message.endswith(WAY_OUT)
