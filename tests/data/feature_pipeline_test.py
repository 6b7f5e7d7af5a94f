"""Features in the images' place: the same examples in the same steps, on any number of owners."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.inputs import jpegs, tiny
from trainer.data.decode.decode_checked import BadImages
from trainer.data.feature_pipeline import FeaturePipeline, FeatureTable
from trainer.data.input_pipeline import InputPipeline
from trainer.data.sources.folder_source import open_folder
from trainer.data.sources.source import shard_bounds
from trainer.data.sources.tfds_open import open_prepared

pytestmark = pytest.mark.integration

BATCH, NUM_SHARDS = 8, 4
SOURCES = ("folder", "one file", "three files")


@pytest.fixture(scope="module")
def sources(tmp_path_factory, beans_data_dir):
    root = tmp_path_factory.mktemp("data")
    one_file = tiny.write_beans(root / "one", num_shards=1)
    return {
        # 3 × 9 = 27 and 15 images: no batch and no shard divides them.
        "folder": open_folder(str(jpegs.write_folder(root / "folder", train=9, validation=5))),
        # Windows of 4 or less, so that the order is neither the file's nor one shuffle.
        "one file": open_prepared(str(one_file), 16),
        "three files": open_prepared(str(beans_data_dir / "beans" / "0.1.0"), 16),
    }


@pytest.fixture(params=SOURCES)
def source(request, sources):
    return sources[request.param]


@functools.cache
def unshuffled(source, split):
    return list(source.examples(split, 0, 1, shuffle=False).as_numpy_iterator())


def entered(source, split, num_shards, shuffle, seed, entries):
    """(place by `order`, id by `examples`) of shards in a row; entries are (shard, epoch, skip)."""

    def one(shard, epoch, skip):
        order = {"epoch": epoch, "skip": skip, "seed": seed, "shuffle": shuffle}
        indices, examples = (
            read(split, shard, num_shards, **order) for read in (source.order, source.examples)
        )
        assert indices.element_spec == {"index": tf.TensorSpec([], tf.int64)}
        return tf.data.Dataset.zip(indices, examples)

    columns = tuple(tf.constant(column, tf.int64) for column in zip(*entries, strict=True))
    rows = tf.data.Dataset.from_tensor_slices(columns).flat_map(one).as_numpy_iterator()
    return [(int(ordered["index"]), example["id"]) for ordered, example in rows]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(
    ("split", "num_shards"), [("train", 1), ("train", 3), ("train", 40), ("validation", 4)]
)
def test_order_yields_the_places_of_what_examples_yields(source, split, num_shards, shuffle, rng):
    assert_ordered(source, split, num_shards, shuffle, rng)


@pytest.mark.parametrize("split", ["train[3:]", "train[10:20]", "test+train[:50%]"])
@pytest.mark.parametrize("name", ["one file", "three files"])
def test_order_of_slices(sources, name, split, rng):
    assert_ordered(sources[name], split, 3, True, rng)


def assert_ordered(source, split, num_shards, shuffle, rng):
    ids = [example["id"] for example in unshuffled(source, split)]
    assert len(set(ids)) == len(ids) == source.num_examples(split)
    seed, epochs = rng.randrange(2**31), [rng.randrange(1000) for _ in range(num_shards)]
    bounds = [shard_bounds(len(ids), shard, num_shards) for shard in range(num_shards)]
    skips = [rng.randrange(end - begin + 2) for begin, end in bounds]
    entries = [
        (shard, epochs[shard], skip)
        for own in ([0] * num_shards, skips)
        for shard, skip in enumerate(own)
    ]
    rows = entered(source, split, num_shards, shuffle, seed, entries)
    whole, rest = rows[: len(ids)], rows[len(ids) :]
    assert [ids[index] for index, _ in whole] == [example_id for _, example_id in whole]
    indices = [index for index, _ in whole]
    assert sorted(indices) == list(range(len(ids)))
    assert shuffle or indices == list(range(len(ids)))
    expected = [
        row
        for (begin, end), skip in zip(bounds, skips, strict=True)
        for row in whole[begin:end][skip:]
    ]
    assert rest == expected


@functools.cache
def everything(source, split):
    """What one batch of evaluation holds of the whole split."""
    images = InputPipeline(source, 1000, 1, 0, (8, 6), BadImages(skip=True))
    (batch,) = images.evaluation_batches(split, [0], 1).take(1).as_numpy_iterator()
    return batch


def pipelines(source, split, seed=7, bad=(), batch=BATCH, num_shards=NUM_SHARDS):
    """The images' pipeline, and one of a table that holds the images themselves as features."""
    whole = everything(source, split)
    flat = whole["input"].reshape([len(whole["label"]), -1])
    table = FeatureTable(
        1, whole["label"], whole["weight"] > 0, lambda indices: tf.gather(flat, indices)
    )
    assert table.is_good.sum() == len(table.labels) - len(bad)
    return (
        InputPipeline(source, batch, num_shards, seed, (8, 6), BadImages(skip=True)),
        FeaturePipeline(source, batch, num_shards, seed, table),
    )


def read(batches, count):
    found = list(batches.take(count).as_numpy_iterator())
    assert len(found) == count
    return found


def assert_same(of_images, of_features):
    for batch, other in zip(of_images, of_features, strict=True):
        assert batch.keys() == other.keys()
        for key in batch:
            assert batch[key].dtype == other[key].dtype, key
        np.testing.assert_array_equal(batch["weight"], other["weight"])
        flat = {**batch, "input": batch["input"].reshape([len(batch["weight"]), -1])}
        good = batch["weight"] > 0  # what is padding has any label
        for key in batch:
            np.testing.assert_array_equal(flat[key][good], other[key][good], err_msg=key)


def test_training_sees_the_same_examples_in_the_same_steps(source, rng):
    images, features = pipelines(source, "train", rng.randrange(2**31))
    expected = read(images.training_batches("train", range(NUM_SHARDS), 1, 0), 17)
    for first_step in (0, 8):
        found = features.training_batches("train", range(NUM_SHARDS), 1, first_step)
        assert_same(expected[first_step:], read(found, 17 - first_step))


def owned(batches, shards):
    """Of the batches of all shards, what is one owner's."""
    block = BATCH // NUM_SHARDS
    return [
        {key: column[shards[0] * block : (shards[-1] + 1) * block] for key, column in batch.items()}
        for batch in batches
    ]


def test_each_owner_sees_the_same(sources, rng):
    images, features = pipelines(sources["three files"], "train", rng.randrange(2**31))
    whole = read(images.training_batches("train", range(NUM_SHARDS), 1, 5), 5)
    for shards in ((0, 1), (2, 3), (0,), (1,), (2,), (3,)):
        found = read(features.training_batches("train", shards, 1, 5), 5)
        assert_same(owned(whole, shards), found)
        if shards in ((2, 3), (1,)):
            assert_same(read(images.training_batches("train", shards, 1, 5), 5), found)


def test_replicas_of_one_worker_see_the_same(sources):
    images, features = pipelines(sources["folder"], "train")
    arguments = ("train", range(NUM_SHARDS), 2, 5)
    one, other = (p.training_batches(*arguments) for p in (images, features))
    assert_same(read(one, 12), read(other, 12))


@pytest.mark.parametrize("replicas", [1, 3])
def test_evaluation_sees_the_same(source, replicas):
    images, features = pipelines(source, "validation")
    steps = images.evaluation_steps("validation", replicas)
    assert features.evaluation_steps("validation", replicas) == steps
    for mine in {tuple(range(replicas)), (replicas - 1,)}:
        count = 2 * steps * len(mine)  # and the next pass
        one, other = (
            p.evaluation_batches("validation", mine, replicas) for p in (images, features)
        )
        assert_same(read(one, count), read(other, count))


def test_bad_images_weigh_nothing_in_both(tmp_path):
    root = jpegs.write_folder(tmp_path, train=8, validation=4)
    for name in ("train/red/000.jpg", "train/blue/003.jpg", "validation/red/002.jpg"):
        (root / name).write_bytes(b"\xff\xd8\xfftext")
    source = open_folder(str(root))
    for split, bad in (("train", range(2)), ("validation", range(1))):
        images, features = pipelines(source, split, bad=bad)
        arguments = (split, range(4), 1, 0) if split == "train" else (split, [0], 1)
        method = "training_batches" if split == "train" else "evaluation_batches"
        one, other = (getattr(p, method)(*arguments) for p in (images, features))
        assert_same(read(one, 6), read(other, 6))


def test_views_are_cycled_by_epoch(sources):
    source, num_views = sources["folder"], 3
    num_examples = source.num_examples("train")
    labels = np.array([example["label"] for example in unshuffled(source, "train")])
    is_good = np.ones(num_views * num_examples, bool)
    is_good[num_examples + 4] = False  # one example, in its second view only
    table = FeatureTable(
        num_views, labels, is_good, lambda indices: tf.cast(indices, tf.float32)[:, None]
    )
    pipeline = FeaturePipeline(source, BATCH, NUM_SHARDS, 7, table)
    steps_per_epoch = num_examples // BATCH
    batches = pipeline.training_batches("train", range(NUM_SHARDS), 1, 0)
    for step, batch in enumerate(batches.take(7 * steps_per_epoch).as_numpy_iterator()):
        indices = batch["input"][:, 0].astype(int)
        view = step // steps_per_epoch % num_views
        assert set(indices // num_examples) == {view}
        assert batch["weight"].tolist() == is_good[indices].astype(float).tolist()
        assert batch["target"].argmax(-1).tolist() == labels[indices % num_examples].tolist()
    # What is evaluated belongs to no epoch.
    (batch,) = pipeline.evaluation_batches("train", [0], 1).take(1).as_numpy_iterator()
    assert set(batch["input"][:, 0] // num_examples) == {0}


@pytest.mark.parametrize("batch", [1, 7])
def test_odd_batches_and_more_parts_than_examples(sources, batch):
    images, features = pipelines(sources["folder"], "train", batch=batch, num_shards=1)
    one, other = (p.training_batches("train", [0], 1, 4) for p in (images, features))
    assert_same(read(one, 40), read(other, 40))
    one, other = (p.evaluation_batches("train", range(40), 40) for p in (images, features))
    assert_same(read(one, 80), read(other, 80))
