"""Each exit code by a process that starts as a user's does; see trainer/process/errors.py."""

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.inputs import tiny
from tests.processes.commands import DEADLINE_SECS, python
from tests.processes.ports import free_ports

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return [
        *("-m", "trainer.task", "--global_batch_size=8", "--feature_cache=off"),
        f"--dataset={tiny.write_folder(root / 'folder', train=4, validation=2)}",
        f"--backbone={tiny.write_backbone(root / 'backbone')}",
        *("--export_formats=", "--noreport", "--nolog_images"),
    ]


def ended(process, code, last_error):
    """Assert the exit code, and the one line on stderr, which begins so."""
    assert process.returncode == code, process.stderr
    lines = process.stderr.splitlines()
    assert [line[: len(last_error)] for line in lines] == ([last_error] if last_error else [])


def test_done(words, tmp_path):
    process = python(*words, "--num_steps=1", f"--workdir={tmp_path}")
    ended(process, 0, "")
    assert process.stdout.splitlines()[-1].startswith("done       accuracy ")


def test_diverged(words, tmp_path):
    flags = ["--num_steps=3", "--optimizer=sgd", "--learning_rate=1e30"]
    process = python(*words, *flags, f"--workdir={tmp_path}")
    ended(process, 1, "graft: the loss after step ")


def test_wrong_input(words, tmp_path):
    process = python(*words, "--train_split=none", f"--workdir={tmp_path}")
    ended(process, 2, "graft: --train_split=none: ")
    assert process.stdout == ""


def test_a_peer_that_is_missing(words, tmp_path):
    hosts = ",".join(f"127.0.0.1:{port}" for port in free_ports(2))
    flags = [f"--worker_hosts={hosts}", "--task_index=0", "--rendezvous_timeout_secs=1"]
    process = python(*words, *flags, f"--workdir={tmp_path}")
    assert process.returncode == 138
    assert process.stderr.startswith("graft: waited 1 s for the other workers:\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_asked_to_stop(words, tmp_path, number, code):
    process: Any
    endless = [*words, "--num_steps=1000000", "--log_progress_secs=0", f"--workdir={tmp_path}"]
    with subprocess.Popen(
        [sys.executable, *endless],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    ) as process:
        # Not "data       … training images", at which no signal is listened to yet.
        while not (line := process.stdout.readline()).startswith("training "):
            assert line, process.stderr.read()
        process.send_signal(number)
        _, errors = process.communicate(timeout=DEADLINE_SECS)
    ended(
        subprocess.CompletedProcess([], process.returncode, "", errors), code, "graft: stopped by"
    )
