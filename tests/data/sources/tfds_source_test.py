import itertools
import re

import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from trainer.data.sources.source import shard_bounds
from trainer.data.sources.tfds_open import open_prepared
from trainer.process.errors import UserError

BUFFER = 16


@pytest.fixture(scope="module")
def prepared(beans_data_dir):
    return beans_data_dir / "beans" / "0.1.0"


@pytest.fixture(scope="module")
def source(prepared):
    return open_prepared(str(prepared), BUFFER)


def ids(dataset):
    return [example["id"].decode() for example in dataset.as_numpy_iterator()]


def as_tfds_reads_it(prepared, split):
    """(id, encoded, label) of each example, in TFDS's order."""
    read = tfds.ReadConfig(add_tfds_id=True, interleave_cycle_length=1)
    dataset = tfds.builder_from_directory(prepared).as_dataset(
        split=split, read_config=read, decoders={"image": tfds.decode.SkipDecoding()}
    )
    return [
        (e["tfds_id"].decode(), e["image"], int(e["label"])) for e in dataset.as_numpy_iterator()
    ]


def as_we_read_it(source, split):
    return [
        (e["id"].decode(), e["encoded"], int(e["label"]))
        for e in source.examples(split, 0, 1, shuffle=False).as_numpy_iterator()
    ]


@pytest.mark.parametrize(
    ("split", "count"),
    [
        ("train", 30),
        ("validation", 9),
        ("test", 6),
        ("train[50%:]", 15),
        ("train[:7]", 7),
        ("train[5:-4]", 21),
        ("train+test", 36),
    ],
)
def test_the_same_examples_as_tfds(prepared, source, split, count):
    examples = as_we_read_it(source, split)
    assert examples == as_tfds_reads_it(prepared, split)
    assert len(examples) == source.num_examples(split) == count
    assert source.label_counts(split).tolist() == [
        sum(label == k for _, _, label in examples) for k in range(3)
    ]
    without = [example_id for example_id, _, label in examples if label == 1]
    assert source.label_counts(split, without).tolist()[1] == 0
    assert source.label_counts(split, without).sum() == count - len(without)
    assert examples[0][1].startswith(b"\xff\xd8")


def test_it_was_written_in_several_shards(prepared):
    names = sorted(path.name for path in prepared.glob("beans-train*"))
    assert names == [f"beans-train.tfrecord-{i:05d}-of-00003" for i in range(3)]


def test_slices_are_complementary(source):
    first, second = (ids(source.examples(s, 0, 1)) for s in ("train[:40%]", "train[40%:]"))
    assert sorted(first + second) == sorted(ids(source.examples("train", 0, 1)))


@pytest.mark.parametrize("num_shards", [1, 4])
def test_shards_are_disjoint_and_together_the_split(source, num_shards):
    shards = [ids(source.examples("train", i, num_shards, epoch=3)) for i in range(num_shards)]
    everything = ids(source.examples("train", 0, 1, shuffle=False))
    assert sorted(itertools.chain(*shards)) == sorted(everything)
    for i, shard in enumerate(shards):
        begin, end = shard_bounds(30, i, num_shards)
        assert sorted(shard) == sorted(everything[begin:end])


def test_the_order_is_a_function_of_seed_and_epoch(source):
    orders = {
        (seed, epoch): ids(source.examples("train", 1, 2, seed=seed, epoch=epoch))
        for seed in (0, 2**31 - 1)
        for epoch in (0, 1)
    }
    assert len(set(map(tuple, orders.values()))) == len(orders)
    tf.random.set_seed(7)  # of TensorFlow as a whole: no argument of ours
    for (seed, epoch), order in orders.items():
        assert ids(source.examples("train", 1, 2, seed=seed, epoch=epoch)) == order


def test_more_shards_than_examples(source):
    shards = [ids(source.examples("test", i, 8)) for i in range(8)]
    assert [len(shard) for shard in shards] == [0, 1, 1, 1, 0, 1, 1, 1]
    assert len(set(itertools.chain(*shards))) == 6


def test_files_are_shuffled_too(prepared):
    without_buffer = open_prepared(str(prepared), 1)
    firsts = {ids(without_buffer.examples("train", 0, 1, epoch=e))[0] for e in range(9)}
    assert firsts == {f"beans-train.tfrecord-{i:05d}-of-00003__0" for i in range(3)}


@pytest.mark.parametrize("skip", [0, 1, 7, 8, 9, 14, 15, 40])
@pytest.mark.parametrize("shuffle", [True, False])
def test_skip_is_as_good_as_dropping(source, skip, shuffle):
    whole = ids(source.examples("train", 1, 2, epoch=5, seed=3, shuffle=shuffle))
    rest = ids(source.examples("train", 1, 2, epoch=5, seed=3, shuffle=shuffle, skip=skip))
    assert len(whole) == 15
    assert rest == whole[skip:]


def test_epochs_and_skips_may_be_tensors(source):
    def epoch_of_examples(epoch):
        skip = tf.where(epoch == 2, tf.constant(4, tf.int64), 0)
        return source.examples("train", 1, 3, epoch=epoch, seed=9, skip=skip)

    dataset = tf.data.Dataset.range(2, 5).flat_map(epoch_of_examples)
    epochs = [ids(source.examples("train", 1, 3, epoch=e, seed=9)) for e in (2, 3, 4)]
    assert ids(dataset) == epochs[0][4:] + epochs[1] + epochs[2]


@pytest.mark.parametrize("split", ["dev", "dev[:10%]", "train[:10", "train[:200%]", ""])
def test_an_unknown_split_is_named(source, split):
    message = re.escape(f"{source.name} has no split {split!r}; it has test, train, validation")
    with pytest.raises(UserError, match=message):
        source.num_examples(split)
