"""Publishers that are killed at any moment, time and again."""

from tests.processes.killed_publishers import assert_whole_or_nothing

NUM_KILLS = 12


def test_what_a_kill_leaves_is_whole_or_nothing(tmp_path, rng, storm_round):
    assert_whole_or_nothing(tmp_path, NUM_KILLS, rng)
