"""`graft rehearse` with real workers, and what it is asked and answers."""

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tests import tiny
from tests.commands import graft, refused
from trainer import flags
from trainer.command_line import parse
from trainer.launch.disturbance import NAMES
from trainer.launch.rehearse import FLAGS, plan, small
from trainer.launch.stage import same_bits

_f32: Any = np.float32
_f64: Any = np.float64

DEADLINE_SECS = 900


def test_a_run_goes_on_after_each_disturbance_with_the_same_bits(tmp_path):
    folder = tiny.write_folder(tmp_path / "folder", train=30, validation=4)
    workdir = tmp_path / "run"
    process = subprocess.run(
        [
            *(sys.executable, "-m", "trainer", "rehearse", "--json", "--num_steps=60"),
            *("--stall_timeout_secs=15", "--grace_secs=5", "--", f"--workdir={workdir}"),
            *(f"--dataset={folder}", "--global_batch_size=16", "--nofreeze_backbone"),
            *("--eval_every_epochs=100", "--num_epochs=7"),
            f"--backbone={tiny.write_backbone(tmp_path / 'backbone')}",
        ],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECS,
    )
    print(process.stderr)  # says the seed
    assert process.returncode == 0
    found = json.loads(process.stdout)
    assert (found["num_workers"], found["num_steps"], found["passed"]) == (2, 60, True)
    planned = plan(
        {**parse([], FLAGS)[0], "num_steps": 60, "disturbances": list(NAMES)}, found["seed"]
    )
    assert [result["disturbance"] for result in found["results"]] == [
        "kill",
        "freeze",
        "sigterm",
        "storage",
    ]
    assert planned[3].worker is None
    for result, wanted in zip(found["results"], planned, strict=True):
        assert result["worker"] == wanted.worker
        assert wanted.step <= result["after_step"] < 60
        assert result["recovered"] is result["equal_weights"] is True
        assert result["secs_until_training"] > 0
        # A loop ends at each checkpoint, every 6 steps: no more can be lost.
        assert 0 <= result["steps_done_twice"] <= 6
    assert found["results"][1]["secs_until_training"] > 15
    assert found["results"][2]["steps_done_twice"] == 0
    assert os.listdir(workdir) == []


def test_a_run_that_cannot_work_ends_the_rehearsal(tmp_path):
    process = graft(
        *("rehearse", "--num_steps=8", "--num_workers=1", "--"),
        *(f"--workdir={tmp_path / 'run'}", f"--dataset={tmp_path / 'absent'}"),
    )
    assert process.returncode == 2
    assert "rehearse │ 0 │ graft: --dataset=" in process.stdout
    assert process.stderr == "graft: the undisturbed run: ended with code 2\n"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--num_steps=7", "--", "--workdir=x"], ["--num_steps=7", "at least 8"]),
        (["--disturbances=kill,burn", "--", "--workdir=x"], ["kill,burn", "sigterm"]),
        (["--disturbances=storage", "--", "--workdir=gs://b/x"], ["a bucket", "local --workdir"]),
        (["--disturbances=kill,kill", "--", "--workdir=x"], ["kill,kill", "different"]),
        (["--disturbances=", "--", "--workdir=x"], ["--disturbances="]),
        (["--timeout_secs=nan", "--", "--workdir=x"], ["--timeout_secs=nan"]),
        ([], ["--workdir: required"]),
        (["--", "--workdir=x", "more"], ["more: not a flag"]),
        (["--num_workers=3", "--", "--workdir=x"], ["among 3 workers"]),
    ],
)
def test_refusals_come_before_any_run(words, parts):
    refused(graft("rehearse", *words), *parts)


def test_the_small_run_is_the_users_own_but_for_its_length_and_voice():
    words = ["--workdir=w", "--num_epochs=50", "--warmup_steps=500", "--nodeterministic"]
    words += ["--hidden_units=", "--test_split=test", "--learning_rate=0.5", "--log_format=text"]
    values = {"num_steps": 40, "stall_timeout_secs": 20.0}
    assert sorted(small(values, parse(words, flags.TRAINER)[0], "w/kill")) == [
        "--checkpoint_every_steps=4",
        "--export_formats=",
        "--hidden_units=",
        "--learning_rate=0.5",
        "--log_format=json",
        "--log_progress_secs=0.0",
        "--nodeterministic",
        "--num_steps=40",
        "--stall_timeout_secs=20.0",
        "--warmup_steps=39",
        "--workdir=w/kill",
    ]
    config = flags.config_from_argv(small(values, parse(words, flags.TRAINER)[0], "w/kill"))
    assert (config.hidden_units, config.num_epochs, config.export_formats) == ((), None, ())


def test_a_seed_decides_who_is_disturbed_and_when():
    values = {"num_steps": 40, "num_workers": 4, "disturbances": list(NAMES)}
    plans = [plan(values, seed) for seed in range(50)]
    assert plans == [plan(values, seed) for seed in range(50)]
    assert {d.worker for p in plans for d in p} == {0, 1, 2, 3, None}
    assert {d.step for p in plans for d in p} == set(range(10, 21))


@pytest.mark.parametrize(
    ("other", "equal"),
    [
        ({"a": _f32([1, np.nan])}, True),
        ({"a": _f32([1, 2])}, False),
        ({"a": _f64([1, np.nan])}, False),
        ({"a": _f32([[1, np.nan]])}, False),
        ({"b": _f32([1, np.nan])}, False),
        ({"a": _f32([1, np.nan]), "b": _f32([])}, False),
    ],
)
def test_same_bits(other, equal):
    assert same_bits({"a": _f32([1, np.nan])}, other) is equal


def test_two_zeros_are_not_the_same_bits():
    assert not same_bits({"a": _f32([0.0])}, {"a": _f32([-0.0])})
