"""Each number of workers, and each of two that may be killed or asked to stop."""

import pytest

from tests.processes.gang import train
from tests.processes.gang_runs import (
    NUM_LONG,
    assert_a_kill_leaves_no_trace,
    assert_same_run_as_of_one,
    assert_sigterm_stops_both_at_one_step,
    launch_and_kill,
    long,
)
from tests.processes.same_run import assert_same_weights
from tests.tiers import GANG

pytestmark = GANG


@pytest.mark.parametrize("num_workers", [2, 4])
def test_every_step_is_that_of_one_worker(gang_arguments, one_worker_run, tmp_path, num_workers):
    train(num_workers, [*gang_arguments, f"--workdir={tmp_path}"], tmp_path / "said")
    assert_same_run_as_of_one(tmp_path, one_worker_run)


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_worker_leaves_no_trace(gang_arguments, two_worker_run, gates, tmp_path, killed):
    assert_a_kill_leaves_no_trace(gang_arguments, two_worker_run, gates(), tmp_path, killed)


@pytest.mark.parametrize("asked", [0, 1])
def test_sigterm_stops_both_at_one_step(gang_arguments, two_worker_run, gates, tmp_path, asked):
    assert_sigterm_stops_both_at_one_step(gang_arguments, two_worker_run, gates(), tmp_path, asked)


def test_launch_through_a_kill_has_the_same_bits(gang_arguments, tmp_path):
    words = long(gang_arguments)
    train(2, [*words, f"--workdir={tmp_path / 'undisturbed'}"], tmp_path / "said")
    launch_and_kill([*words, f"--workdir={tmp_path / 'killed'}"])
    assert_same_weights(tmp_path / "killed", tmp_path / "undisturbed", NUM_LONG)
