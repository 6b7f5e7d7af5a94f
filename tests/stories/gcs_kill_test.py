"""A process that is killed at any of its requests to a bucket leaves the whole or nothing.

At each of them: tests/storm/gcs_kill_test.py.
"""

import pytest

from tests.inputs import tiny
from tests.processes.gcs_kills import FILES, NUM_REQUESTS, assert_whole_or_nothing


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_at_some_request_leaves_the_whole_or_nothing(gcs, tmp_path, rng, moment):
    scratch = tiny.write_files(tmp_path / "scratch", FILES)
    number = rng.randrange(NUM_REQUESTS)
    print(f"killed {moment} request {number}")
    assert assert_whole_or_nothing(gcs, scratch, number, moment)


def test_who_is_not_killed_leaves_the_new_one(gcs, tmp_path):
    scratch = tiny.write_files(tmp_path / "scratch", FILES)
    assert not assert_whole_or_nothing(gcs, scratch, NUM_REQUESTS, "before")
