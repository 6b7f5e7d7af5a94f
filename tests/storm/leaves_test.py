"""The whole embedded data set, prepared again after a kill, by two processes at once."""

from tests.data.leaves.embedded_test import (  # noqa: F401
    assert_killed_then_two_at_once,
    builder,
    examples,
)


def test_killed_in_the_middle_then_two_prepare_all_of_it(tmp_path, examples):  # noqa: F811
    assert_killed_then_two_at_once(tmp_path, examples, 1034)
