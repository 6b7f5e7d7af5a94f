"""Whole runs with their workdir in a bucket, killed at twenty requests amid faults of all kinds."""

from tests.processes.same_run import assert_same_run
from tests.stories.gcs_run_test import assert_orphans_are_swept, killed_at_requests

NUM_KILLS = 20


def test_twenty_kills_and_faults_throughout_leave_no_trace(
    gcs, arguments, undisturbed, tmp_path, rng, storm_round
):
    ours, num_faults = killed_at_requests(gcs, NUM_KILLS, arguments, tmp_path, rng)
    print(f"{num_faults} faults")
    assert num_faults > NUM_KILLS
    assert_same_run(ours, undisturbed)
    assert_orphans_are_swept(gcs)
