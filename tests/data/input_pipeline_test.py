"""The order of a run's examples is a function of (seed, step), on any number of owners."""

import numpy as np
import pytest

from tests.inputs import jpegs
from trainer.data.decode.decode_checked import BadImages
from trainer.data.input_pipeline import InputPipeline
from trainer.data.sources.folder_source import open_folder

pytestmark = pytest.mark.integration

NUM_SHARDS = 4
BATCH = 8


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    # 3 × 9 = 27 training images: 3 steps an epoch, 3 images left out.
    return open_folder(
        str(jpegs.write_folder(tmp_path_factory.mktemp("data"), train=9, validation=5))
    )


def pipeline(source, **changes):
    settings = {
        "source": source,
        "image_size": (16, 16),
        "global_batch_size": BATCH,
        "num_logical_shards": NUM_SHARDS,
        "seed": 7,
        "bad_images": BadImages(skip=False),
        **changes,
    }
    return InputPipeline(**settings)


def steps(source, shards, first_step, num_steps, **changes):
    """[step][position] -> image as bytes, from the batches of one owner with one replica."""
    batches = pipeline(source, **changes).training_batches("train", shards, 1, first_step)
    return [
        dict(zip(b["position"].tolist(), (image.tobytes() for image in b["input"]), strict=True))
        for b in batches.take(num_steps).as_numpy_iterator()
    ]


@pytest.fixture(scope="module")
def whole(source):
    """The first eight steps, as they come to the owner of all shards."""
    return steps(source, range(4), 0, 8)


def test_a_step_holds_the_same_examples_on_one_two_and_four_owners(source, whole):
    for owners in ([[0, 1], [2, 3]], [[0], [1], [2], [3]]):
        parts = [steps(source, shards, 0, 8) for shards in owners]
        merged = [
            {k: v for part in step for k, v in part.items()} for step in zip(*parts, strict=True)
        ]
        assert merged == whole


# Within an epoch, at its border, within the next.
@pytest.mark.parametrize(("policy", "first_steps"), [("none", [5]), ("light", [1, 3, 5])])
def test_starting_at_a_step_is_the_same_as_coming_to_it(source, whole, policy, first_steps):
    expected = whole if policy == "none" else steps(source, range(4), 0, 8, augment=policy)
    for first in first_steps:
        assert steps(source, range(4), first, 8 - first, augment=policy) == expected[first:]


def test_an_epoch_repeats_no_example_and_the_next_has_another_order(whole):
    epochs = [
        [image for step in whole[a:b] for image in step.values()] for a, b in ((0, 3), (3, 6))
    ]
    assert [len(set(epoch)) for epoch in epochs] == [24, 24]
    assert epochs[0] != epochs[1]
    # What is left out is another remainder each time, and comes back.
    assert set(epochs[0]) != set(epochs[1])


def test_another_seed_is_another_order(source, whole):
    assert whole[0] != steps(source, range(4), 0, 1, seed=8)[0]


def test_replicas_get_whole_blocks_in_order(source):
    batches = pipeline(source).training_batches("train", range(4), 2, 0)
    first, second = batches.take(2).as_numpy_iterator()
    assert first["position"].tolist() == [0, 1, 2, 3]
    assert second["position"].tolist() == [4, 5, 6, 7]
    assert first["target"].shape == (4, 3)
    assert first["input"].dtype == np.float32


@pytest.fixture(scope="module")
def evaluated(source):
    """The split in its order, as one replica reads it: images, labels."""
    fed = pipeline(source)
    batches = fed.evaluation_batches("validation", [0], 1).take(
        fed.evaluation_steps("validation", 1)
    )
    found = list(batches.as_numpy_iterator())
    good = [batch["weight"] > 0 for batch in found]
    return [
        np.concatenate([b[key][g] for b, g in zip(found, good, strict=True)])
        for key in ("input", "label")
    ]


@pytest.mark.parametrize("num_replicas", [1, 2, 3, 8])
def test_evaluation_sees_every_example_once_at_its_place_and_pads_alike(
    source, evaluated, num_replicas
):
    fed = pipeline(source)
    num_steps = fed.evaluation_steps("validation", num_replicas)
    images, seen, counts, columns = [], [], [], []
    for replica in range(num_replicas):
        batches = fed.evaluation_batches("validation", [replica], num_replicas)
        found = list(batches.take(2 * num_steps).as_numpy_iterator())
        # The second pass is the first again.
        for one, other in zip(found[:num_steps], found[num_steps:], strict=True):
            np.testing.assert_array_equal(one["input"], other["input"])
        counts.append([len(batch["weight"]) for batch in found[:num_steps]])
        indices = fed.evaluation_indices("validation", [replica], num_replicas)
        for where, batch in zip(indices, found[:num_steps], strict=True):
            for index, image, weight in zip(where, batch["input"], batch["weight"], strict=True):
                if weight:
                    np.testing.assert_array_equal(image, evaluated[0][index])
                    seen.append(index)
                    images.append(image.tobytes())
        columns.append([batch["label"].tolist() for batch in found])
    assert sorted(seen) == list(range(15))
    assert len(set(images)) == 15
    assert all(count == counts[0] for count in counts)
    assert sum(map(sum, counts)) < 15 + num_replicas * num_steps
    both = fed.evaluation_indices("validation", range(num_replicas), num_replicas)
    alone = [fed.evaluation_indices("validation", [r], num_replicas) for r in range(num_replicas)]
    assert both.tolist() == np.concatenate(alone, axis=1).tolist()
    if num_replicas == 2:
        # Of one worker, they take turns.
        together = fed.evaluation_batches("validation", [0, 1], 2).take(4 * num_steps)
        in_turns = [b["label"].tolist() for b in together.as_numpy_iterator()]
        assert in_turns == [labels for step in zip(*columns, strict=True) for labels in step]


def test_mixing_stays_within_a_logical_shard(source):
    mixed = pipeline(source, mixup_alpha=1.0).training_batches("train", range(4), 1, 0)
    plain = pipeline(source).training_batches("train", range(4), 1, 0)
    m, p = next(mixed.as_numpy_iterator()), next(plain.as_numpy_iterator())
    for block in range(4):
        pair = slice(2 * block, 2 * block + 2)
        # A mix of two within the block keeps the block's sums.
        np.testing.assert_allclose(m["target"][pair].sum(0), p["target"][pair].sum(0), atol=1e-6)
        np.testing.assert_allclose(m["input"][pair].sum(0), p["input"][pair].sum(0), atol=1e-5)
    assert not np.array_equal(m["input"], p["input"])


def test_a_broken_image_weighs_nothing_and_is_reported_at_its_step(tmp_path):
    root = jpegs.write_folder(tmp_path, train=8, validation=4)
    broken = root / "train" / "red" / "000.jpg"
    broken.write_bytes(broken.read_bytes()[:100])
    bad_images = BadImages(skip=True)
    batches = pipeline(open_folder(str(root)), bad_images=bad_images).training_batches(
        "train", range(4), 1, 0
    )
    weights = [batch["weight"].tolist() for batch in batches.take(3).as_numpy_iterator()]
    assert sum(map(sum, weights)) == 23  # one epoch of 24
    step = next(i for i, row in enumerate(weights) if 0.0 in row)
    assert bad_images.before_step(step) == {}
    assert list(bad_images.before_step(step + 1)) == ["train/red/000.jpg"]
