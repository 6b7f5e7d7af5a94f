"""Runs of several real workers on loopback, and what is asserted of them."""

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

from tests.inputs import tiny
from tests.processes.commands import metrics
from tests.processes.gang import DEADLINE_SECS, boundaries, curve, gang, pictures, train
from tests.processes.same_run import assert_same_weights

NUM_STEPS, NUM_LONG = 60, 600
BARE = ("--export_formats=", "--noreport", "--nolog_images")
STALL_SECS = 30


def arguments(directory):
    """Of a run that draws all that is random, for any number of workers; no workdir."""
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


def plain(arguments):
    """`arguments` without what takes long to trace, and makes no difference to who ends when."""
    return [word for word in arguments if "augment" not in word and "mixup" not in word] + [*BARE]


def long(arguments):
    """So many steps that most are left when a kill comes."""
    return [*plain(arguments), f"--num_steps={NUM_LONG}", "--checkpoint_every_steps=50"]


def assert_same_curves(workdir, single):
    """Of training and evaluation, but for rounding; and the same pictures, but for figures."""
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


def assert_a_kill_leaves_no_trace(arguments, pair, gate, directory, killed):
    """One of two workers is killed, the other leaves at once, and both go on."""
    words = [*arguments, "--nolog_images", f"--workdir={directory}"]
    with gang(2, words, directory / "said", prepare={0: gate}) as workers:
        gate.wait(*(worker.process for worker in workers))
        workers[killed].process.kill()
        began = time.monotonic()
        assert workers[1 - killed].end() == 138
        assert time.monotonic() - began < STALL_SECS
        assert "): connection lost\n" in workers[1 - killed].errors
    train(2, words, directory / "said")
    assert_same_weights(directory, pair, NUM_STEPS)
    assert metrics(directory) == metrics(pair)
    assert_the_ledger_adds_up(directory)


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


def answers(workdir):
    """What the model said of each validation image, as the chief tells it."""
    rows = csv.DictReader((workdir / "report" / "predictions.csv").read_text().splitlines())
    return [(row["id"], row["label"], row["prediction"]) for row in rows]


def assert_the_ledger_adds_up(workdir):
    """Over two starts, to the microsecond."""
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
