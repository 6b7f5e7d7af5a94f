"""Augmentation: a pure function of (seed, epoch, example), in range, and exact where it mixes."""

import numpy as np
import pytest
import tensorflow as tf

from trainer.data import augment, randaugment

IDS = [f"leaf {i}.jpg".encode() for i in range(6)]
POLICIES = ["light", "randaugment"]


def pictures(count, size=24):
    noise = np.random.default_rng(1).random((count, size // 4, size // 4, 3), np.float32)
    return tf.clip_by_value(tf.image.resize(noise, (size, size)), 0, 1)


@tf.function
def augmented(image, example_id, epoch, policy, seed=5):
    return augment.augment(image, policy, augment.example_seed(seed, epoch, example_id))


@pytest.mark.parametrize("policy", POLICIES)
def test_depends_on_seed_epoch_and_example_alone(policy):
    images = pictures(len(IDS))

    def run(epoch, order, parallel):
        data = tf.data.Dataset.from_tensor_slices((tf.gather(images, order), tf.gather(IDS, order)))
        data = data.map(
            lambda image, key: augmented(image, key, epoch, policy), num_parallel_calls=parallel
        )
        return dict(zip(order, (image.numpy() for image in data), strict=True))

    first = run(3, [0, 1, 2, 3, 4, 5], 1)
    again = run(3, [4, 0, 5, 2], 2)
    for i, image in again.items():
        np.testing.assert_array_equal(image, first[i])
    later = run(4, [0, 1, 2, 3, 4, 5], 2)
    assert any((later[i] != first[i]).any() for i in first)


def test_windows_are_inside_and_of_the_promised_area_and_aspect():
    draw = tf.function(
        lambda i: augment.crop_window("light", augment.example_seed(7, 0, tf.strings.as_string(i)))
    )
    windows = np.stack([draw(i) for i in tf.range(300)])
    top, left, height, width = windows.T
    assert (windows >= 0).all()
    assert (top + height <= 1 + 1e-6).all()
    assert (left + width <= 1 + 1e-6).all()
    assert (height * width >= 0.35 * 0.75 - 1e-6).all()
    assert (height / width).min() > 0.74
    assert (height / width).max() < 1.34
    assert 0.55 < (height * width).mean() < 0.75
    assert len(np.unique(windows, axis=0)) == 300
    seeds = augment.example_seed(7, 0, tf.constant("x"))
    assert augment.crop_window("none", seeds) is None


def test_about_half_of_the_images_are_flipped():
    image = pictures(1)[0]
    flipped = sum(
        bool((augmented(image, tf.constant(str(i)), 0, "light") != image).numpy().any())
        for i in range(200)
    )
    assert 75 < flipped < 125


@pytest.mark.parametrize("operation", randaugment.OPERATIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("magnitude", [-1.0, -0.3, 0.0, 0.3, 1.0])
def test_operations_keep_shape_and_stay_finite_and_end_in_range(operation, magnitude):
    for image in (pictures(1)[0], tf.zeros([24, 24, 3]), tf.ones([24, 24, 3])):
        result = operation(image, tf.constant(magnitude))
        assert result.shape == image.shape
        assert np.isfinite(result).all()
        unchanged = {"contrast", "brightness", "color", "sharpness", "rotate", "shear", "translate"}
        if magnitude == 0 and operation.__name__ in unchanged:
            np.testing.assert_allclose(result, image, atol=1e-5)


def test_randaugment_stays_in_range_and_uses_its_operations():
    image = pictures(1)[0]
    results = [augmented(image, tf.constant(str(i)), 0, "randaugment").numpy() for i in range(60)]
    assert all(r.min() >= 0 and r.max() <= 1 and r.shape == (24, 24, 3) for r in results)
    assert len({r.tobytes() for r in results}) > 30


def test_geometry_goes_the_way_it_says():
    image = tf.constant(np.arange(9 * 9 * 3).reshape(9, 9, 3) / 300, tf.float32)
    moved = randaugment.translate(image, tf.constant(1 / 2.7))  # one pixel of nine
    np.testing.assert_allclose(moved[:-1, :-1], image[1:, 1:], atol=1e-5)
    np.testing.assert_allclose(moved[-1], tf.fill([9, 3], 0.5), atol=1e-5)
    turned = randaugment.rotate(image, tf.constant(3.0))  # 90 degrees
    quarter = [np.rot90(image, k) for k in (1, 3)]
    assert any(np.allclose(turned, q, atol=1e-4) for q in quarter)


def test_equalize_and_autocontrast_use_the_whole_range():
    image = 0.3 + 0.2 * pictures(1)[0]
    for operation in (randaugment.equalize, randaugment.autocontrast):
        result = operation(image, tf.constant(0.3)).numpy()
        np.testing.assert_allclose(result.min((0, 1)), 0, atol=1e-6)
        np.testing.assert_allclose(result.max((0, 1)), 1, atol=1e-6)


def blocks(count, block, classes=4):
    images = pictures(count * block, 16)
    labels = tf.one_hot(np.arange(count * block) % classes, classes)
    seeds = tf.stack([augment.example_seed(1, 2, f"block {i}") for i in range(count)])
    return images, labels, seeds


def test_mixup_is_exact():
    images, labels, seeds = blocks(3, 4)
    mixed, targets = augment.mix(images, labels, 4, 0.4, 0.0, seeds)
    for b in range(3):
        rows = slice(4 * b, 4 * b + 4)
        own, partner = images[rows], tf.roll(images[rows], 1, 0)
        own_label, partner_label = labels[rows], tf.roll(labels[rows], 1, 0)
        share = float(tf.reduce_sum(targets[rows] * own_label)) / 4
        assert 0 <= share <= 1
        np.testing.assert_allclose(mixed[rows], share * own + (1 - share) * partner, atol=1e-5)
        expected = share * own_label + (1 - share) * partner_label
        np.testing.assert_allclose(targets[rows], expected, atol=1e-6)


def test_cutmix_labels_are_the_areas():
    images, labels, seeds = blocks(8, 4)
    mixed, targets = augment.mix(images, labels, 4, 0.0, 1.0, seeds)
    shares = []
    for b in range(8):
        rows = slice(4 * b, 4 * b + 4)
        own, partner = images[rows].numpy(), np.roll(images[rows], 1, 0)
        is_own = (mixed[rows].numpy() == own).all(-1)
        assert (is_own | (mixed[rows].numpy() == partner).all(-1)).all()
        share = is_own.mean()
        expected = share * labels[rows].numpy() + (1 - share) * np.roll(labels[rows], 1, 0)
        np.testing.assert_allclose(targets[rows], expected, atol=1e-6)
        shares.append(share)
    assert len(set(shares)) > 4


def test_mixing_is_the_same_however_the_blocks_are_spread():
    images, labels, seeds = blocks(4, 4)
    whole = augment.mix(images, labels, 4, 0.2, 1.0, seeds)
    for half in (slice(0, 2), slice(2, 4)):
        rows = slice(4 * half.start, 4 * half.stop)
        part = augment.mix(images[rows], labels[rows], 4, 0.2, 1.0, seeds[half])
        np.testing.assert_array_equal(part[0], whole[0][rows])
        np.testing.assert_array_equal(part[1], whole[1][rows])


def test_shares_follow_the_beta_law():
    draw = tf.function(lambda i: augment._beta(augment.example_seed(1, 0, tf.as_string(i)), 0.4))
    shares = np.array([draw(i) for i in tf.range(1000)])
    assert abs(shares.mean() - 0.5) < 0.05
    assert abs(shares.var() - 1 / (4 * (2 * 0.4 + 1))) < 0.02


def test_nothing_is_mixed_without_alphas_or_partners():
    images, labels, seeds = blocks(2, 2)
    assert augment.mix(images, labels, 2, 0.0, 0.0, seeds)[0] is images
    assert augment.mix(images, labels, 1, 0.4, 0.0, seeds)[0] is images
