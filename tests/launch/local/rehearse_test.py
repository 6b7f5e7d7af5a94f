"""`graft rehearse` with real workers, and what it is asked and answers.

All that it does to a run is in tests/storm/rehearse_test.py.
"""

from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.processes import in_process
from tests.processes.commands import graft, refused
from tests.processes.forked_workers import ForkedWorkers
from tests.processes.rehearsals import rehearse
from tests.tiers import GANG
from trainer.launch.local.disturbance import NAMES
from trainer.launch.local.rehearse import plan, short_argv
from trainer.launch.local.stage import same_bits
from trainer.settings import flags
from trainer.settings.command_line import parse

_f32: Any = np.float32
_f64: Any = np.float64


@pytest.mark.integration
@GANG
def test_a_run_goes_on_after_a_kill_with_the_same_bits(tmp_path):
    rehearse(partial(graft, prepare=ForkedWorkers()), tmp_path, 24, ["kill"])


@pytest.mark.integration
def test_a_run_that_cannot_work_ends_the_rehearsal(tmp_path):
    process = graft(
        *("rehearse", "--num_steps=8", "--num_workers=1", "--"),
        *(f"--workdir={tmp_path / 'run'}", f"--dataset={tmp_path / 'absent'}"),
        prepare=ForkedWorkers(),
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
def test_refusals_come_before_any_run(words, parts, capsys):
    refused(in_process.graft(capsys, "rehearse", *words), *parts)


def test_the_small_run_is_the_users_own_but_for_its_length_and_voice():
    words = ["--workdir=w", "--num_epochs=50", "--warmup_steps=500", "--nodeterministic"]
    words += ["--hidden_units=", "--test_split=test", "--learning_rate=0.5", "--log_format=text"]
    values = {"num_steps": 40, "stall_timeout_secs": 20.0}
    assert sorted(short_argv(values, parse(words, flags.TRAINER)[0], "w/kill")) == [
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
    config = flags.config_from_argv(short_argv(values, parse(words, flags.TRAINER)[0], "w/kill"))
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
