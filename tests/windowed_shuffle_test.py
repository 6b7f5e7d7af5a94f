"""A shuffle that is a function of its seed, entered anywhere."""

import pytest
import tensorflow as tf

from trainer.data.windowed_shuffle import shuffle_in_windows


def shuffled(count, size, seed, skip=0):
    numbers = tf.data.Dataset.range(count)
    records = tf.data.Dataset.zip(numbers.map(tf.strings.as_string), numbers)
    order = shuffle_in_windows(records, count, size, tf.constant(seed, tf.int64), skip)
    rows = list(order.as_numpy_iterator())
    assert [int(text) for text, _ in rows] == [number for _, number in rows]
    return [int(number) for _, number in rows]


@pytest.mark.parametrize(("count", "size"), [(1, 1), (1, 8), (7, 3), (20, 20), (20, 64), (100, 16)])
@pytest.mark.parametrize("seed", [1, 5, 2**31 - 2])
def test_it_is_a_permutation_entered_at_every_place(count, size, seed):
    whole = shuffled(count, size, seed)
    assert sorted(whole) == list(range(count))
    for skip in range(count + 1):
        assert shuffled(count, size, seed, skip) == whole[skip:]


def test_no_record_moves_further_than_a_window():
    for seed in range(1, 6):
        moves = [abs(place - number) for place, number in enumerate(shuffled(100, 16, seed))]
        assert max(moves) < 16
        assert sum(move == 0 for move in moves) < 30


def test_seeds_give_other_orders_and_other_windows():
    orders = {tuple(shuffled(100, 16, seed)) for seed in range(1, 9)}
    assert len(orders) == 8
    # Where the first window ends differs, or 15 and 16 would never change sides.
    firsts = [set(order[:16]) for order in orders]
    assert any(first != set(range(16)) for first in firsts)


def test_a_window_that_holds_all_mixes_all():
    order = shuffled(100, 100, 3)
    assert max(abs(place - number) for place, number in enumerate(order)) > 50
