"""Features in a bucket that do not fit into memory: local copies, each fetched once, verified."""

import os
import signal
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.data.mirrored_store_test import fetched
from tests.inputs import tiny
from tests.processes.commands import graft, metrics, refused
from tests.processes.feature_caches import (
    NUM_TRAIN,
    assert_same,
    colours,
    counts,
    open_cache,
    rows,
    said,
)
from tests.processes.settings import Setting
from trainer.data import feature_shards
from trainer.data.feature_pipeline import FeaturePipeline
from trainer.engine import feature_cache
from trainer.process.errors import Preempted, UserError
from trainer.process.stop_signal import StopRequest

ROOT = "gs://bucket/features"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_folder(tmp_path_factory.mktemp("größe 1"), train=17, validation=3)


@pytest.fixture
def small_memory(monkeypatch):
    monkeypatch.setattr(feature_cache, "_MEMORY_SHARE", 0.0)
    monkeypatch.setattr(feature_shards, "_from_memory", None)


def data_files(directory):
    return sorted(p for p in Path(directory).glob("*/part-*") if p.suffix != ".json")


def batches(cache, table):
    source = cache.extraction.pipeline.source
    pipeline = FeaturePipeline(source, 8, 4, 0, table)
    yield from pipeline.training_batches("train", range(4), 1, 0).take(12).as_numpy_iterator()
    yield from pipeline.evaluation_batches("train", [0], 1).take(2).as_numpy_iterator()


def assert_same_batches(cache, table, expected):
    pairs = list(zip(batches(cache, table), batches(cache, expected), strict=True))
    assert len(pairs) == 14
    for one, other in pairs:
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


@pytest.mark.parametrize("views", [0, 2])
def test_as_in_memory_whether_computed_fetched_or_found(views, gcs, folder, tmp_path, monkeypatch):
    settings = {"augment": "light"} if views else {}
    num_parts = 8 * max(views, 1)
    expected = open_cache(tmp_path / "a", folder, **settings).table("train", views, "float32")
    monkeypatch.setattr(feature_cache, "_MEMORY_SHARE", 0.0)
    monkeypatch.setattr(feature_shards, "_from_memory", None)
    # Computed here; of another machine, which fetches each part once; and again there.
    for copies, computes, fetches in ((1, num_parts, 0), (2, 0, num_parts), (2, 0, 0)):
        gcs.proxy.reset()
        cache = open_cache(ROOT, folder, copies=tmp_path / str(copies), **settings)
        table = cache.table("train", views, "float32")
        assert counts(cache) == [(num_parts - computes, computes)]
        assert len(fetched(gcs)) == len(set(fetched(gcs))) == fetches
        assert_same(table, expected)
        assert_same_batches(cache, table, expected)
    # In the bucket, in both copies and in a local cache lie the same files.
    (directory,) = (tmp_path / "a").iterdir()
    whole = {path.name: path.read_bytes() for path in directory.iterdir()}
    for name in ("1", "2"):
        found = (tmp_path / name / directory.name).iterdir()
        assert {p.name: p.read_bytes() for p in found if p.name != ".lock"} == whole
    names = gcs.names("features/")
    assert {os.path.basename(name): gcs.read(name) for name in names} == whole


def test_what_was_computed_in_memory_is_fetched(gcs, folder, tmp_path, monkeypatch):
    expected = open_cache(ROOT, folder).table("train", 0, "float32")
    monkeypatch.setattr(feature_cache, "_MEMORY_SHARE", 0.0)
    cache = open_cache(ROOT, folder, copies=tmp_path)
    assert_same(cache.table("train", 0, "float32"), expected)
    assert counts(cache) == [(8, 0)]


def test_a_damaged_copy_is_fetched_anew_and_no_other(gcs, folder, tmp_path, small_memory):
    expected = open_cache(ROOT, folder, copies=tmp_path).table("train", 0, "float32")
    expected_rows = rows(expected)
    for number, damage in enumerate(("flip", "cut", "remove", "manifest"), start=2):
        damaged = data_files(tmp_path)[number]
        content = bytearray(damaged.read_bytes())
        name = damaged.name
        if damage == "manifest":
            damaged.with_suffix(".json").write_bytes(b"{")
        elif damage == "remove":
            damaged.unlink()
        else:
            content[7] ^= 1
            damaged.unlink()  # what is mapped above stays
            damaged.write_bytes(content if damage == "flip" else content[:-4])
        gcs.proxy.reset()
        cache = open_cache(ROOT, folder, copies=tmp_path)
        np.testing.assert_array_equal(rows(cache.table("train", 0, "float32")), expected_rows)
        assert fetched(gcs) == [name], damage
        assert counts(cache) == [(8, 0)]
        assert [line for line in said(cache) if line["severity"] == "WARNING"] == []


def test_a_part_that_is_damaged_in_the_bucket_is_computed_anew(gcs, folder, tmp_path, small_memory):
    expected = open_cache(ROOT, folder, copies=tmp_path / "1").table("train", 0, "float32")
    path = next(name for name in gcs.names("features/") if "part-00003" in name)
    content = bytearray(gcs.read(path))
    content[7] ^= 1
    gcs.write(path, bytes(content))
    cache = open_cache(ROOT, folder, copies=tmp_path / "2")
    assert_same(cache.table("train", 0, "float32"), expected)
    assert counts(cache) == [(7, 1)]
    (warning,) = [line["message"] for line in said(cache) if line["severity"] == "WARNING"]
    assert f"gs://bucket/{path}: checksum mismatch; recomputing it" in warning


def test_one_part_at_a_time_is_in_memory(gcs, folder, tmp_path, small_memory):
    wide = {
        "features": lambda x: tf.tile(colours(x), [1, 2000]),
        "num_features": 12_000,
        "augment": "light",
    }
    num_bytes = 4 * NUM_TRAIN * 12_000 * 4
    open_cache(ROOT, folder, copies=tmp_path / "1", **wide).table("train", 4, "float32")
    cache = open_cache(ROOT, folder, copies=tmp_path / "2", **wide)
    tracemalloc.start()
    try:
        table = cache.table("train", 4, "float32")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert counts(cache) == [(32, 0)]
    assert len(fetched(gcs)) == 32
    # One of 32, as it arrives, is checked and is written: six times at once.
    assert peak < num_bytes / 4
    assert rows(table).nbytes == num_bytes


def test_a_stop_while_copying_keeps_what_is_copied(gcs, folder, tmp_path, small_memory):
    expected = open_cache(ROOT, folder, copies=tmp_path / "1").table("train", 0, "float32")

    class StopAtOnce(StopRequest):
        @property
        def requested(self):
            self._signal = signal.SIGTERM
            return True

    with pytest.raises(Preempted, match="stopped by SIGTERM while copying features"):
        open_cache(ROOT, folder, copies=tmp_path / "2", stop=StopAtOnce()).table(
            "train", 0, "float32"
        )
    assert len(data_files(tmp_path / "2")) == 1
    gcs.proxy.reset()
    cache = open_cache(ROOT, folder, copies=tmp_path / "2")
    assert_same(cache.table("train", 0, "float32"), expected)
    assert len(fetched(gcs)) == 7


def test_a_full_disk_is_named_before_anything_is_fetched(
    gcs, folder, tmp_path, small_disk, small_memory
):
    wide = {"features": lambda x: tf.tile(colours(x), [1, 400]), "num_features": 2_400}
    expected = open_cache(ROOT, folder, copies=tmp_path / "1", **wide).table("train", 0, "float32")
    gcs.proxy.reset()
    with pytest.raises(UserError) as caught:
        open_cache(ROOT, folder, copies=small_disk, **wide).table("train", 0, "float32")
    assert caught.value.exit_code == 2
    (directory,) = small_disk.iterdir()
    assert str(caught.value).startswith(f"{directory}: {NUM_TRAIN * 2_400 * 4:,} bytes are needed")
    assert "--cache_dir" in str(caught.value)
    assert fetched(gcs) == []
    # What is there already needs no room.
    subprocess.run(["mount", "-o", "remount,size=640k", str(small_disk)], check=True)
    cache = open_cache(ROOT, folder, copies=small_disk, **wide)
    assert_same(cache.table("train", 0, "float32"), expected)
    again = open_cache(ROOT, folder, copies=small_disk, **wide)
    assert_same(again.table("train", 0, "float32"), expected)


def test_copies_that_cannot_be_written_are_named_with_their_flag(gcs, folder, small_memory):
    with pytest.raises(UserError, match=r"^--cache_dir=/proc/graft/51-\w+: must be a writable"):
        open_cache(ROOT, folder).table("train", 0, "float32")


SMALL_MEMORY = Setting("trainer.engine.feature_cache:_MEMORY_SHARE", 0.0)


def test_a_run_that_streams_from_copies_is_the_run_in_memory(gcs, folder, tmp_path):
    arguments = [
        *("train", f"--dataset={folder}", f"--backbone={tiny.write_backbone(tmp_path / 'b')}"),
        *("--num_epochs=2", "--global_batch_size=8", f"--feature_cache={ROOT}", "--noreport"),
        *("--precision=float32", "--log_format=json", "--export_formats=", "--nolog_images"),
    ]
    whole = graft(*arguments, f"--workdir={tmp_path / 'whole'}")
    assert whole.returncode == 0, whole.stderr
    arguments.append(f"--cache_dir={tmp_path / 'cache'}")
    streamed = graft(*arguments, f"--workdir={tmp_path / 'streamed'}", prepare=SMALL_MEMORY)
    assert streamed.returncode == 0, streamed.stderr
    assert len(data_files(tmp_path / "cache" / "features")) == 16
    assert metrics(tmp_path / "streamed") == metrics(tmp_path / "whole")
    arguments[-1] = f"--cache_dir={tiny.write_files(tmp_path / 'full', {'features': b''})}"
    refused(
        graft(*arguments, f"--workdir={tmp_path / 'refused'}", prepare=SMALL_MEMORY),
        f"{arguments[-1]}/features/",
        "must be a writable directory",
    )
