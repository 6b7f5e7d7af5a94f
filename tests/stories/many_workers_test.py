"""Several real workers on loopback: they compute what one computes, and end together."""

import signal
import time

import pytest

from tests.inputs import tiny
from tests.processes.commands import graft, metrics
from tests.processes.gang import curve, gang, train
from tests.processes.gang_runs import (
    BARE,
    NUM_LONG,
    NUM_STEPS,
    STALL_SECS,
    assert_a_kill_leaves_no_trace,
    assert_same_run_as_of_one,
    assert_sigterm_stops_both_at_one_step,
    launch_and_kill,
    long,
    plain,
)
from tests.processes.ports import free_ports
from tests.tiers import GANG

pytestmark = [pytest.mark.integration, GANG]


def test_every_step_is_that_of_one_worker(two_worker_run, one_worker_run):
    assert_same_run_as_of_one(two_worker_run, one_worker_run)


def test_one_then_four_then_two_workers(gang_arguments, one_worker_run, tmp_path):
    for num_workers, num_steps in ((1, 17), (4, 43), (2, NUM_STEPS)):
        words = [*gang_arguments, *BARE, f"--num_steps={num_steps}", f"--workdir={tmp_path}"]
        train(num_workers, words, tmp_path / "said")
    ours, theirs = curve(tmp_path), curve(one_worker_run)
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert ours[key] == pytest.approx(value, rel=2e-4, abs=1e-5), key


def test_a_killed_worker_ends_the_other_and_the_rest_is_as_if_undisturbed(
    gang_arguments, two_worker_run, gates, tmp_path
):
    assert_a_kill_leaves_no_trace(gang_arguments, two_worker_run, gates(), tmp_path, killed=0)


def test_sigterm_on_one_worker_stops_both_at_one_step(
    gang_arguments, two_worker_run, gates, tmp_path
):
    assert_sigterm_stops_both_at_one_step(
        gang_arguments, two_worker_run, gates(), tmp_path, asked=1
    )


def test_a_frozen_worker_ends_the_other_within_the_stall_timeout(gang_arguments, gates, tmp_path):
    gate = gates()
    words = [*plain(gang_arguments), "--stall_timeout_secs=10", f"--workdir={tmp_path}"]
    with gang(2, words, tmp_path / "said", prepare={1: gate}) as workers:
        gate.wait(*(worker.process for worker in workers))
        workers[1].process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        assert workers[0].end() == 138
        assert time.monotonic() - began < 2 * STALL_SECS


def test_workers_that_differ_are_refused(gang_arguments, tmp_path):
    words = [*gang_arguments, f"--workdir={tmp_path}"]
    with gang(2, words, tmp_path / "said", [], ["--seed=7"]) as workers:
        assert [worker.end() for worker in workers] == [2, 2]
        for worker in workers:
            assert "--seed: worker 1 (" in worker.errors
            assert ") has 7; worker 0, the chief (" in worker.errors


def test_a_workdir_that_is_not_shared_is_refused(gang_arguments, one_worker_run, tmp_path):
    words = [*gang_arguments, "--num_steps=70"]
    own = [f"--workdir={tmp_path / 'new'}"], [f"--workdir={one_worker_run}"]
    with gang(2, words, tmp_path / "said", *own) as workers:
        assert [worker.end() for worker in workers] == [2, 2]
        assert "the workdir must be shared by all workers" in workers[0].errors


def test_a_worker_alone_names_who_is_missing(gang_arguments, tmp_path):
    port, other = free_ports(2)
    process = graft(
        "train",
        *gang_arguments,
        f"--workdir={tmp_path}",
        f"--worker_hosts=127.0.0.1:{port},127.0.0.1:{other}",
        "--task_index=0",
        "--rendezvous_timeout_secs=1",
    )
    assert process.returncode == 138
    assert f"worker 1 (127.0.0.1:{other}): nothing listens on its port" in process.stderr


def test_launch_brings_a_gang_to_its_end_through_a_kill(gang_arguments, tmp_path):
    launch_and_kill([*long(gang_arguments), f"--workdir={tmp_path}"])
    assert metrics(tmp_path)["global_step"] == NUM_LONG


def test_what_one_worker_cannot_decode_is_known_to_all(gang_arguments, tmp_path):
    folder = tiny.write_folder(tmp_path / "folder", train=8, validation=3)
    # A file of each half of the split: each of two workers meets one.
    broken = [folder / "validation" / name for name in ("blue/000.png", "red/002.png")]
    for path in broken:
        path.write_bytes(path.read_bytes()[:100])
    words = [
        f"--dataset={folder}",
        *plain(gang_arguments[1:]),
        "--bad_images=skip",
        "--num_steps=3",
    ]
    train(2, [*words, f"--workdir={tmp_path}"], tmp_path / "said")
    found = metrics(tmp_path)
    assert found["eval"]["num_examples"] == 7
    assert found["num_skipped"] == 2
