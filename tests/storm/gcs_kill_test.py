"""A process that is killed at each of its requests to a bucket leaves the whole or nothing."""

import pytest

from tests.inputs import tiny
from tests.processes.gcs_kills import FILES, NUM_REQUESTS, assert_whole_or_nothing


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_at_any_request_leaves_the_whole_or_nothing(gcs, tmp_path, moment):
    scratch = tiny.write_files(tmp_path / "scratch", FILES)
    for number in range(NUM_REQUESTS):
        assert assert_whole_or_nothing(gcs, scratch, number, moment)
    assert not assert_whole_or_nothing(gcs, scratch, NUM_REQUESTS, moment)
