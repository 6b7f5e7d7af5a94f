"""Loading in a real pipeline: order, broken images skipped or named, padding."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.inputs import jpegs  # noqa: F401  # as a run starts TensorFlow
from tests.inputs.pictures import encoded, picture
from trainer.data.decode.decode_checked import BadImages, load_images
from trainer.data.decode.decode_image import decode_and_resize

pytestmark = pytest.mark.integration

SIZE = (16, 24)
_decode = tf.function(lambda encoded: decode_and_resize(encoded, SIZE))
BAD = {4: b"words", 9: b"", 17: encoded(picture(), "JPEG")[:700]}


def examples(bad, count=30, kinds=("PNG", "JPEG")):
    files = [encoded(picture(30 + i, 60), kinds[i % len(kinds)]) for i in range(count)]
    for i, data in bad.items():
        files[i] = data
    return tf.data.Dataset.from_tensor_slices(
        {
            "encoded": files,
            "id": [f"fold er/häß {i}.jpg" for i in range(count)],
            "label": np.arange(count),
            "step": np.arange(count, dtype=np.int64) // 10,
        }
    )


@functools.cache
def decoded():
    """What each of the examples is when it is decoded alone; None for those that are bad."""
    return [
        None if i in BAD else _decode(source["encoded"]).numpy()
        for i, source in enumerate(examples(BAD))
    ]


@pytest.mark.parametrize(("parallelism", "group_size"), [(7, 1), (2, 4), (1, 30)])
def test_skip_keeps_order_and_records_what_was_skipped(parallelism, group_size):
    assert_order_is_kept(parallelism, group_size)


def assert_order_is_kept(parallelism, group_size):
    bad = BadImages(skip=True)
    groups = load_images(examples(BAD).batch(group_size), SIZE, bad, parallelism=parallelism)
    loaded = list(groups.unbatch())
    assert [int(e["label"]) for e in loaded] == list(range(30))
    for i, (example, expected) in enumerate(zip(loaded, decoded(), strict=True)):
        assert bool(example["is_good"]) == (i not in BAD)
        assert set(example) == {"id", "label", "step", "input", "is_good"}
        if i in BAD:
            assert not example["input"].numpy().any()
        else:
            np.testing.assert_array_equal(example["input"], expected)
    met = bad.before_step(3)
    assert list(met) == sorted(f"fold er/häß {i}.jpg" for i in BAD)
    assert met["fold er/häß 4.jpg"] == "not a JPEG, PNG, GIF, BMP or WebP image"
    assert met["fold er/häß 9.jpg"] == "an empty file"
    assert "Invalid JPEG data" in met["fold er/häß 17.jpg"]
    assert list(bad.before_step(1)) == ["fold er/häß 4.jpg", "fold er/häß 9.jpg"]
    assert bad.before_step(0) == {}


def test_error_names_the_image_and_the_reason():
    bad = BadImages()
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        list(load_images(examples({9: b""}).batch(5), SIZE, bad, parallelism=4).prefetch(2))
    error = bad.user_error(caught.value)
    assert error is not None
    assert str(error).startswith("the image fold er/häß 9.jpg cannot be decoded: an empty file.")
    assert "--bad_images=skip" in str(error)
    assert bad.user_error(tf.errors.InvalidArgumentError(None, None, "another")) is None


def test_padding_is_no_bad_image():
    bad = BadImages()
    padding = tf.data.Dataset.from_tensors({"encoded": b"", "id": b""}).repeat(3).batch(3)
    (loaded,) = load_images(padding, SIZE, bad, parallelism=2)
    assert loaded["is_good"].numpy().tolist() == [False] * 3
    assert bad.before_step(1) == {}


def test_a_group_of_broken_images_alone():
    bad = BadImages(skip=True)
    broken = examples({0: b"a", 1: b"b", 2: b"c"}, 3).batch(3)
    (loaded,) = load_images(broken, SIZE, bad, parallelism=2)
    assert loaded["is_good"].numpy().tolist() == [False] * 3
    assert loaded["input"].shape == (3, *SIZE, 3)
    assert len(bad.before_step(1)) == 3


@pytest.mark.parametrize("skip", [True, False])
def test_a_file_that_cannot_be_read_is_no_bad_image(tmp_path, skip):
    path = str(tmp_path / "data.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for _ in range(9):
            writer.write(encoded(picture(), "JPEG"))
    whole = (tmp_path / "data.tfrecord").read_bytes()
    (tmp_path / "data.tfrecord").write_bytes(whole[: len(whole) * 2 // 3 - 20])
    records = tf.data.TFRecordDataset(path).map(lambda r: {"encoded": r, "id": "x"})
    loaded = load_images(records.batch(2), SIZE, BadImages(skip=skip), parallelism=2)
    with pytest.raises(tf.errors.DataLossError, match="truncated record"):
        list(loaded.prefetch(2))


def test_window_and_transform_see_the_example():
    loaded = load_images(
        examples({}, 4, ["JPEG"]).batch(2),
        SIZE,
        BadImages(),
        parallelism=2,
        window=lambda example: tf.constant([0.0, 0.0, 0.5, 0.5]),
        transform=lambda image, example: image * 0 + tf.cast(example["label"], tf.float32),
    )
    assert [float(e["input"][0, 0, 0]) for e in loaded.unbatch()] == [0, 1, 2, 3]


def test_the_earliest_step_is_kept():
    bad = BadImages(skip=True)
    for step in (5, 2, 7):
        bad.report("a", "why", step)
    assert bad.before_step(2) == {}
    assert bad.before_step(3) == {"a": "why"}
