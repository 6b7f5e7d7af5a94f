"""Several real workers on loopback: they compute what one computes, and end together."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.commands import graft, metrics
from tests.gang import DEADLINE_SECS, boundaries, curve, gang, pictures, train
from tests.ports import free_ports
from tests.same_run import assert_same_weights
from tests.tiers import GANG

pytestmark = [pytest.mark.integration, GANG]

NUM_STEPS, NUM_LONG = 60, 600
BARE = ("--export_formats=", "--noreport", "--nolog_images")
STALL_SECS = 30


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    # A validation split that no number of workers divides.
    folder = tiny.write_folder(directory / "folder", train=30, validation=7)
    return [
        f"--dataset={folder}",
        f"--backbone={tiny.write_backbone(directory / 'backbone')}",
        "--nofreeze_backbone",
        "--augment=light",
        "--mixup_alpha=0.2",
        "--dropout=0.1",
        "--global_batch_size=16",
        "--num_logical_shards=4",
        "--learning_rate_schedule=constant",
        "--log_every_steps=1",
        "--eval_every_epochs=4",
        "--checkpoint_every_steps=5",
        f"--num_steps={NUM_STEPS}",
        f"--stall_timeout_secs={STALL_SECS}",
        "--rendezvous_timeout_secs=60",
    ]


@pytest.fixture(scope="module")
def single(arguments, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("single") / "run"
    process = graft("train", *arguments, f"--workdir={workdir}")
    assert process.returncode == 0, process.stderr
    return workdir


@pytest.fixture(scope="module")
def pair(arguments, tmp_path_factory):
    """Two workers, undisturbed."""
    workdir = tmp_path_factory.mktemp("pair") / "run"
    train(2, [*arguments, f"--workdir={workdir}"], workdir / "said")
    return workdir


def assert_same_curves(workdir, single):
    for name in ("train", "eval"):
        ours, theirs = curve(workdir, name), curve(single, name)
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            assert ours[key] == pytest.approx(value, rel=2e-4, abs=1e-5), key
        # The chief draws them, of mistakes that may be another's; their figures may be rounded.
        drawn, expected = pictures(workdir, name), pictures(single, name)
        assert drawn.keys() == expected.keys() != set()
        same = {key for key, picture in expected.items() if drawn[key] == picture}
        assert {key for key in expected if key[1] != "worst_mistakes"} <= same


def assert_same_run_as_of_one(workdir, single):
    """Every step, evaluation and picture, but for rounding."""
    assert_same_curves(workdir, single)
    ours, theirs = metrics(workdir), metrics(single)
    assert ours["eval"]["confusion_matrix"] == theirs["eval"]["confusion_matrix"]
    assert ours["eval"]["num_examples"] == 21
    assert answers(workdir) == answers(single)
    assert ours["eval"]["loss"] == pytest.approx(theirs["eval"]["loss"], rel=1e-4)


def test_every_step_is_that_of_one_worker(pair, single):
    assert_same_run_as_of_one(pair, single)


def test_one_then_four_then_two_workers(arguments, single, tmp_path):
    for num_workers, num_steps in ((1, 17), (4, 43), (2, NUM_STEPS)):
        words = [*arguments, *BARE, f"--num_steps={num_steps}", f"--workdir={tmp_path}"]
        train(num_workers, words, tmp_path / "said")
    ours, theirs = curve(tmp_path), curve(single)
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert ours[key] == pytest.approx(value, rel=2e-4, abs=1e-5), key


def assert_a_kill_leaves_no_trace(arguments, pair, gate, directory, killed):
    """One of two workers is killed, the other leaves at once, and both go on."""
    words = [*arguments, "--nolog_images", f"--workdir={directory}"]
    with gang(2, words, directory / "said", prepare={0: gate}) as workers:
        gate.wait(*(worker.process for worker in workers))
        workers[killed].process.kill()
        began = time.monotonic()
        assert workers[1 - killed].end() == 138
        assert time.monotonic() - began < STALL_SECS
        assert "): is gone\n" in workers[1 - killed].errors
    train(2, words, directory / "said")
    assert_same_weights(directory, pair, NUM_STEPS)
    assert metrics(directory) == metrics(pair)
    assert_the_ledger_adds_up(directory)


def test_a_killed_worker_ends_the_other_and_the_rest_is_as_if_undisturbed(
    arguments, pair, gates, tmp_path
):
    assert_a_kill_leaves_no_trace(arguments, pair, gates(), tmp_path, killed=0)


def assert_sigterm_stops_both_at_one_step(arguments, pair, gate, tmp_path, asked):
    """One of two workers is sent SIGTERM; both save, leave, and go on."""
    rare = [word for word in arguments if "checkpoint" not in word]
    words = [*rare, "--checkpoint_every_steps=9999", f"--workdir={tmp_path}"]
    words += [*BARE, "--log_progress_secs=0"]
    with gang(2, words, tmp_path / "said", prepare={1: gate}) as workers:
        gate.wait(*(worker.process for worker in workers))
        workers[asked].process.send_signal(signal.SIGTERM)
        before = boundaries(workers[0])
        gate.open()
        assert [worker.end() for worker in workers] == [143, 143]
        # Who had voted for a boundary already asks at the next one.
        assert boundaries(workers[0]) - before <= 2
        said = {worker.errors.splitlines()[-1] for worker in workers}
        assert len(said) == 1
        assert said.pop().startswith("graft: stopped by SIGTERM after step ")
    train(2, words, tmp_path / "said")
    assert_same_weights(tmp_path, pair, NUM_STEPS)


def test_sigterm_on_one_worker_stops_both_at_one_step(arguments, pair, gates, tmp_path):
    assert_sigterm_stops_both_at_one_step(arguments, pair, gates(), tmp_path, asked=1)


def test_a_frozen_worker_ends_the_other_within_the_stall_timeout(arguments, gates, tmp_path):
    gate = gates()
    words = [*plain(arguments), "--stall_timeout_secs=10", f"--workdir={tmp_path}"]
    with gang(2, words, tmp_path / "said", prepare={1: gate}) as workers:
        gate.wait(*(worker.process for worker in workers))
        workers[1].process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        assert workers[0].end() == 138
        assert time.monotonic() - began < 2 * STALL_SECS


def test_workers_that_differ_are_refused(arguments, tmp_path):
    words = [*arguments, f"--workdir={tmp_path}"]
    with gang(2, words, tmp_path / "said", [], ["--seed=7"]) as workers:
        assert [worker.end() for worker in workers] == [2, 2]
        for worker in workers:
            assert "--seed: worker 1 (" in worker.errors
            assert ") has 7; worker 0, the chief (" in worker.errors


def test_a_workdir_that_is_not_shared_is_refused(arguments, single, tmp_path):
    words = [*arguments, "--num_steps=70"]
    own = [f"--workdir={tmp_path / 'new'}"], [f"--workdir={single}"]
    with gang(2, words, tmp_path / "said", *own) as workers:
        assert [worker.end() for worker in workers] == [2, 2]
        assert "the workdir must be shared by all workers" in workers[0].errors


def test_a_worker_alone_names_who_is_missing(arguments, tmp_path):
    port, other = free_ports(2)
    process = graft(
        "train",
        *arguments,
        f"--workdir={tmp_path}",
        f"--worker_hosts=127.0.0.1:{port},127.0.0.1:{other}",
        "--task_index=0",
        "--rendezvous_timeout_secs=1",
    )
    assert process.returncode == 138
    assert f"worker 1 (127.0.0.1:{other}): nothing listens on its port" in process.stderr


def long(arguments):
    """So many steps that most are left when a kill comes."""
    return [*plain(arguments), f"--num_steps={NUM_LONG}", "--checkpoint_every_steps=50"]


def test_launch_brings_a_gang_to_its_end_through_a_kill(arguments, tmp_path):
    launch_and_kill([*long(arguments), f"--workdir={tmp_path}"])
    assert metrics(tmp_path)["global_step"] == NUM_LONG


def launch_and_kill(words):
    """`graft launch` with WORDS, and one of its two workers killed; it restarts them."""
    command = [sys.executable, "-m", "trainer", "launch", "--num_workers=2", "--", *words]
    process: Any
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            while "first step after" not in (line := process.stdout.readline()):
                assert line
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            os.kill(int(children.split()[1]), signal.SIGKILL)
            output, _ = process.communicate(timeout=DEADLINE_SECS)
        finally:
            process.terminate()
    assert process.returncode == 0, output
    assert "launch │ left with 137; restarting all, 1 of 3\n" in output
    assert "0 │ resuming   after step " in output
    assert "0 │ done       accuracy " in output


def test_what_one_worker_cannot_decode_is_known_to_all(arguments, tmp_path):
    folder = tiny.write_folder(tmp_path / "folder", train=8, validation=3)
    # A file of each half of the split: each of two workers meets one.
    broken = [folder / "validation" / name for name in ("blue/000.png", "red/002.png")]
    for path in broken:
        path.write_bytes(path.read_bytes()[:100])
    words = [f"--dataset={folder}", *plain(arguments[1:]), "--bad_images=skip", "--num_steps=3"]
    train(2, [*words, f"--workdir={tmp_path}"], tmp_path / "said")
    found = metrics(tmp_path)
    assert found["eval"]["num_examples"] == 7
    assert found["num_skipped"] == 2


def plain(arguments):
    """`arguments` without what takes long to trace, and makes no difference to who ends when."""
    return [word for word in arguments if "augment" not in word and "mixup" not in word] + [*BARE]


def answers(workdir):
    """What the model said of each validation image, as the chief tells it."""
    rows = csv.DictReader((workdir / "report" / "predictions.csv").read_text().splitlines())
    return [(row["id"], row["label"], row["prediction"]) for row in rows]


def assert_the_ledger_adds_up(workdir):
    lines = [json.loads(line) for line in (workdir / "goodput.jsonl").read_text().splitlines()]
    assert len(lines) == 2  # one for each start
    spent = sum(round(secs * 1e6) for line in lines for secs in line["secs"].values())
    assert spent == round(lines[1]["until"] * 1e6) - round(lines[0]["began"] * 1e6)
    told = json.loads((workdir / "metrics.json").read_text())["goodput"]
    assert sum(round(secs * 1e6) for secs in told["secs"].values()) == round(
        1e6 * told["wall_secs"]
    )
    for name in ("startup", "preflight", "tracing", "step", "evaluation", "export", "down"):
        assert told["secs"][name] > 0
