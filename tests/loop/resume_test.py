"""Kill it: the result is the one it would have had, bit for bit.

A streaming source, augmentation, dropout, MixUp and fine-tuning: all that could remember. More
kills, at any moment, are in tests/storm/resume_test.py.
"""

import re
import signal

import pytest

from tests.processes.commands import graft, start
from tests.processes.gates import STEPS
from tests.processes.killed_runs import SAVES, ended, killed_at_gates
from tests.processes.same_run import DEADLINE_SECS, assert_same_run

pytestmark = pytest.mark.integration


def test_kills_leave_no_trace(arguments, undisturbed, tmp_path, rng):
    killed = killed_at_gates([STEPS, SAVES], arguments, tmp_path / "killed", rng)
    assert_same_run(killed, undisturbed)


def test_a_kill_of_a_run_with_a_folded_backbone_leaves_no_trace(arguments, tmp_path, rng):
    """With frozen statistics the backbone is trained by models/training_graph.py; with pictures."""
    words = [a for a in arguments if a not in ("--nofreeze_batch_norm", "--nolog_images")]
    words += ["--num_steps=30", "--noreport", "--export_formats="]
    undisturbed = ended(words, tmp_path / "undisturbed")
    killed = killed_at_gates([STEPS], words, tmp_path / "killed", rng)
    assert_same_run(killed, undisturbed, num_steps=30)


def test_sigterm_saves_and_leaves_with_143(arguments, undisturbed, gates, tmp_path):
    workdir = tmp_path / "preempted"
    # No checkpoint is due before the end: the one that is resumed from is SIGTERM's.
    rare = [a for a in arguments if "checkpoint" not in a] + ["--checkpoint_every_steps=9999"]
    gate = gates()
    process = start(*rare, f"--workdir={workdir}", prepare=gate)
    gate.wait(process)
    process.send_signal(signal.SIGTERM)
    gate.open()
    assert process.wait(DEADLINE_SECS) == 143
    resumed = graft(*rare, f"--workdir={workdir}")
    assert resumed.returncode == 0, resumed.stderr
    assert re.search(r"resuming   after step [1-9]", resumed.stdout)
    assert_same_run(workdir, undisturbed)


def test_a_workdir_of_another_run_is_refused(arguments, undisturbed):
    process = graft(*arguments, f"--workdir={undisturbed}", "--seed=5", "--global_batch_size=32")
    assert process.returncode == 2
    assert "global_batch_size: 16 there, 32 now" in process.stderr
    assert "seed: 0 there, 5 now" in process.stderr
    assert "Traceback" not in process.stderr
