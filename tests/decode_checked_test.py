"""Loading in a real pipeline: order, broken images skipped or named, padding."""

import numpy as np
import pytest
import tensorflow as tf

from tests.decode_test import encoded, picture
from trainer.data.decode import decode_and_resize
from trainer.data.decode_checked import BadImages, load_images

SIZE = (16, 24)
_decode = tf.function(lambda encoded: decode_and_resize(encoded, SIZE))
BAD = {4: b"words", 9: b"", 17: encoded(picture(), "JPEG")[:700]}


def examples(bad, count=30):
    files = [encoded(picture(30 + i, 60), "JPEG" if i % 2 else "PNG") for i in range(count)]
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


@pytest.mark.parametrize("parallelism", [1, 2, 7])
def test_skip_keeps_order_and_records_what_was_skipped(parallelism):
    bad = BadImages(skip=True)
    loaded = list(load_images(examples(BAD), SIZE, bad, parallelism=parallelism))
    assert [int(e["label"]) for e in loaded] == list(range(30))
    for i, (example, source) in enumerate(zip(loaded, examples(BAD), strict=True)):
        assert bool(example["is_good"]) == (i not in BAD)
        assert set(example) == {"id", "label", "step", "image", "is_good"}
        if i in BAD:
            assert not example["image"].numpy().any()
        else:
            expected = _decode(source["encoded"])
            np.testing.assert_array_equal(example["image"], expected)
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
        list(load_images(examples({9: b""}), SIZE, bad, parallelism=4).batch(5).prefetch(2))
    error = bad.user_error(caught.value)
    assert error is not None
    assert str(error).startswith("the image fold er/häß 9.jpg cannot be decoded: an empty file.")
    assert "--bad_images=skip" in str(error)
    assert bad.user_error(tf.errors.InvalidArgumentError(None, None, "another")) is None


def test_padding_is_no_bad_image():
    bad = BadImages()
    padding = tf.data.Dataset.from_tensors({"encoded": b"", "id": b""}).repeat(3)
    loaded = list(load_images(padding, SIZE, bad, parallelism=2))
    assert [bool(e["is_good"]) for e in loaded] == [False] * 3
    assert bad.before_step(1) == {}


def test_window_and_transform_see_the_example():
    loaded = load_images(
        examples({}, 4),
        SIZE,
        BadImages(),
        parallelism=2,
        window=lambda example: tf.constant([0.0, 0.0, 0.5, 0.5]),
        transform=lambda image, example: image * 0 + tf.cast(example["label"], tf.float32),
    )
    assert [float(e["image"][0, 0, 0]) for e in loaded] == [0, 1, 2, 3]


def test_the_earliest_step_is_kept():
    bad = BadImages(skip=True)
    for step in (5, 2, 7):
        bad.report("a", "why", step)
    assert bad.before_step(2) == {}
    assert bad.before_step(3) == {"a": "why"}
