"""Loading in groups of any size, any number of them at a time."""

import pytest

from tests.data.decode.decode_checked_test import assert_order_is_kept


@pytest.mark.parametrize("parallelism", [1, 2, 7])
@pytest.mark.parametrize("group_size", [1, 4, 30])
def test_skip_keeps_order_and_records_what_was_skipped(parallelism, group_size):
    assert_order_is_kept(parallelism, group_size)
