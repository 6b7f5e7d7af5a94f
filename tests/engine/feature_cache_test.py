"""Features computed once: the right ones, in parts that are kept, verified and named."""

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.inputs import jpegs, tiny
from tests.processes.feature_caches import (
    NUM_TRAIN,
    WIDTH,
    assert_features_of,
    assert_same,
    colours,
    counts,
    first_line,
    open_cache,
    parts_of,
    rows,
    said,
)
from trainer.data.feature_store import FeatureShard
from trainer.data.sources.tfds_open import open_prepared
from trainer.engine.feature_extraction import Extraction

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return jpegs.write_folder(tmp_path_factory.mktemp("größe 1"), train=17, validation=3)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture(scope="module")
def filled(folder, tmp_path_factory):
    """A cache that holds both splits, and its tables; not to be changed."""
    cache = open_cache(tmp_path_factory.mktemp("filled"), folder)
    return cache, {split: cache.table(split, 0, "float32") for split in ("train", "validation")}


def test_a_table_holds_the_features_in_the_order_of_the_split(filled):
    cache, tables = filled
    assert tables["train"].num_views == 1
    assert tables["train"].is_good.tolist() == [True] * NUM_TRAIN
    assert_features_of(tables["train"], cache, "train")


def test_the_second_time_nothing_is_computed(folder, filled):
    first, tables = filled
    second = open_cache(first.root, folder)

    def never(images):
        raise AssertionError("computed again")

    extraction = dataclasses.replace(second.extraction, features=never)
    second = dataclasses.replace(second, extraction=extraction)
    for split, table in tables.items():
        assert_same(table, second.table(split, 0, "float32"))
    assert counts(first) == [(0, 8), (0, 8)]
    assert counts(second) == [(8, 0), (8, 0)]
    once, again = map(first_line, (first, second))
    assert once.startswith(f"features   of 'train' are computed once, into {first.root}/")
    assert again.startswith(f"features   of 'train' found in {first.root}/")
    assert again.endswith(" (under 1 MB)")
    assert len(os.listdir(first.root)) == 2


def test_records_have_the_same_table_however_many_files(tmp_path, beans_data_dir):
    directories = [tiny.write_beans(tmp_path / "one", 1), beans_data_dir / "beans" / "0.1.0"]
    one, three = (
        open_cache(tmp_path / root, open_prepared(str(directory), 16))
        for root, directory in zip(("a", "b"), directories, strict=True)
    )
    for split in ("train", "validation", "train[7:20]"):
        table = three.table(split, 0, "float32")
        assert_features_of(table, three, split)
        assert_same(one.table(split, 0, "float32"), table)


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_images_than_parts(count, folder, copy, tmp_path):
    for label in tiny.COLORS:
        for path in sorted((copy / "validation" / label).iterdir())[count:]:
            path.unlink()
    cache = open_cache(tmp_path / "cache", copy)
    table = cache.table("validation", 0, "float32")
    assert_features_of(table, cache, "validation")
    assert counts(cache) == [(0, 3 * count)]


@pytest.mark.parametrize("suffix", [".json", ""])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove data"])
def test_a_damaged_part_is_said_and_computed_anew(suffix, damage, folder, filled, tmp_path):
    (of_train,) = Path(filled[0].root).glob(f"{NUM_TRAIN}-*")
    shutil.copytree(of_train, tmp_path / of_train.name)
    before = {path: path.read_bytes() for path in parts_of(tmp_path)}
    damaged = next(path for path in before if (path.suffix == ".json") == (suffix == ".json"))
    content = bytearray(before[damaged])
    content[len(content) // 2] ^= 4
    if damage == "remove data":
        damaged.unlink()
    else:
        damaged.write_bytes(content if damage == "flip" else content[:-3])
    cache = open_cache(tmp_path, folder)
    assert_same(cache.table("train", 0, "float32"), filled[1]["train"])
    assert counts(cache) == [(7, 1)]
    assert first_line(cache).startswith(
        "features   of 'train' 7 of 8 parts found, the others computed, in "
    )
    warnings = [line["message"] for line in said(cache) if line["severity"] == "WARNING"]
    # A manifest that is gone says nothing: so it is after a kill.
    is_silent = (damage, suffix) == ("remove data", ".json")
    assert len(warnings) == (0 if is_silent else 1)
    assert all(str(damaged) in w and w.endswith("recomputing it") for w in warnings)
    assert {path: path.read_bytes() for path in parts_of(tmp_path)} == before


def test_an_image_replaced_in_place_is_seen(copy, tmp_path):
    open_cache(tmp_path / "cache", copy).table("train", 0, "float32")
    one, other = copy / "train" / "red" / "000.jpg", copy / "train" / "blue" / "001.jpg"
    one.write_bytes(other.read_bytes())
    cache = open_cache(tmp_path / "cache", copy)
    assert_features_of(cache.table("train", 0, "float32"), cache, "train")
    assert counts(cache) == [(0, 8)]


def test_what_features_depend_on_is_told_apart(folder, tmp_path, monkeypatch):
    def zeros(self, split, sizes, num_parts, precision):  # where they lie is not theirs to say
        for number, size in sizes.items():
            yield (
                number,
                FeatureShard(np.zeros([size, WIDTH], np.float32), np.zeros(size, np.int64), {}),
            )

    monkeypatch.setattr(Extraction, "shards", zeros)

    def directories(*tables, **changes):
        before = set(os.listdir(tmp_path))
        for table in tables:
            open_cache(tmp_path, folder, **changes).table(*table)
        return len(set(os.listdir(tmp_path)) - before)

    plain = ("validation", 0, "float32")
    assert directories(plain) == 1
    # Of what is looked at as it is, neither seed nor augmentation.
    assert directories(plain, seed=5) == 0
    assert directories(plain, augment="light") == 0
    assert directories(("validation", 0, "mixed_bfloat16")) == 1
    assert directories(plain, computed_by={"backbone": "another"}) == 1
    views = ("validation", 2, "float32")
    assert directories(views, augment="light") == 1
    assert directories(views, augment="light", seed=5) == 1
    assert directories(views, augment="randaugment") == 1
    assert directories(("validation", 3, "float32"), augment="light") == 1


def test_what_is_evaluated_is_never_augmented(folder, filled, tmp_path):
    augmenting = open_cache(tmp_path, folder, augment="light")
    assert_same(augmenting.table("validation", 0, "float32"), filled[1]["validation"])
    assert counts(augmenting) == [(0, 8)]


def test_views_are_the_augmentations_of_the_first_epochs(folder, tmp_path):
    cache = open_cache(tmp_path, folder, augment="light", seed=3)
    table = cache.table("train", 3, "float32")
    assert counts(cache) == [(0, 24)]
    views = f"{NUM_TRAIN} images × 3 views"
    assert first_line(cache).startswith(f"features   of 'train', {views}, are computed once, into ")
    every = rows(table).reshape([3, NUM_TRAIN, WIDTH])
    batches = cache.extraction.pipeline.training_batches("train", range(4), 1, 0)
    steps_per_epoch = NUM_TRAIN // 8
    for step, batch in enumerate(batches.take(3 * steps_per_epoch).as_numpy_iterator()):
        features = colours(tf.constant(batch["input"])).numpy()
        distances = np.abs(every[step // steps_per_epoch][None] - features[:, None]).max(-1)
        assert distances.min(1).max() < 1e-5
        assert len(set(distances.argmin(1))) == 8
        labels = table.labels[distances.argmin(1)]
        assert labels.tolist() == batch["target"].argmax(1).tolist()
