"""A shuffle that is a function of its seed, entered anywhere."""

import pytest
import tensorflow as tf

from trainer.data.windowed_shuffle import shuffle_in_windows


def shuffled(count, size, seeds, skips=(0,)):
    """[seed, skip] -> what is left of the order; one pipeline reads them all."""
    numbers = tf.data.Dataset.range(count)
    records = tf.data.Dataset.zip(numbers.map(tf.strings.as_string), numbers)
    asked = [(seed, skip) for seed in seeds for skip in skips]

    def order(seed, skip):
        rows = shuffle_in_windows(records, count, size, seed, skip)
        return rows.map(lambda text, number: (seed, skip, text, number))

    orders: dict[tuple[int, int], list[int]] = {pair: [] for pair in asked}
    columns = tuple(tf.constant(column, tf.int64) for column in zip(*asked, strict=True))
    rows = tf.data.Dataset.from_tensor_slices(columns).flat_map(order)
    for seed, skip, text, number in rows.as_numpy_iterator():
        assert int(text) == number
        orders[int(seed), int(skip)].append(int(number))
    return orders


@pytest.mark.parametrize(
    ("count", "size"),
    [
        *((1, 1), (1, 8), (7, 3), (20, 20), (20, 64)),
        pytest.param(100, 16, marks=pytest.mark.integration),
    ],
)
def test_it_is_a_permutation_entered_at_every_place(count, size):
    seeds, skips = (1, 5, 2**31 - 2), range(count + 1)
    orders = shuffled(count, size, seeds, skips)
    for seed in seeds:
        whole = orders[seed, 0]
        assert sorted(whole) == list(range(count))
        assert [orders[seed, skip] for skip in skips] == [whole[skip:] for skip in skips]


def test_no_record_moves_further_than_a_window():
    for order in shuffled(100, 16, range(1, 6)).values():
        moves = [abs(place - number) for place, number in enumerate(order)]
        assert max(moves) < 16
        assert sum(move == 0 for move in moves) < 30


def test_seeds_give_other_orders_and_other_windows():
    orders = {tuple(order) for order in shuffled(100, 16, range(1, 9)).values()}
    assert len(orders) == 8
    # Where the first window ends differs, or 15 and 16 would never change sides.
    firsts = [set(order[:16]) for order in orders]
    assert any(first != set(range(16)) for first in firsts)


def test_a_window_that_holds_all_mixes_all():
    order = shuffled(100, 100, [3])[3, 0]
    assert max(abs(place - number) for place, number in enumerate(order)) > 50
