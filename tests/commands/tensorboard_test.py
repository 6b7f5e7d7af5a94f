"""`graft tensorboard` as a process: it answers over HTTP with the scalars of the run."""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time

import pytest

from tests.inputs.board import DEADLINE_SECS, Board
from tests.processes import warm
from tests.processes.commands import graft, refused
from trainer.commands.tensorboard import short_names


def write_run(root):
    from trainer.board.event_writer import SummaryWriter

    (root / "logs").mkdir(parents=True)
    (root / "config.json").write_text('{"config": {}}')
    summary_writer = SummaryWriter(str(root / "logs"), 0)
    summary_writer.write("train", 5, {"loss": 0.5})
    summary_writer.close()
    return root


@contextlib.contextmanager
def opened(*words, is_warm=True):
    """The page that a process of `graft` with `words` serves, once the run's loss is on it."""
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as output:
        process: subprocess.Popen[bytes] | warm.Process
        if is_warm:
            process = warm.Process(words, output, said, os.environ)
        else:
            command = [sys.executable, "-m", "trainer", *words]
            process = subprocess.Popen(command, stdout=output, stderr=said)
        try:
            deadline = time.monotonic() + DEADLINE_SECS
            while not (found := re.search(r"^curves     (http://\S+/)", _read(output), re.M)):
                assert time.monotonic() < deadline
                assert process.poll() is None, _read(said)
                time.sleep(0.05)
            board = Board(found[1])
            while "loss" not in board.json("plugin/scalars/tags").get("train", {}):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield board
        finally:
            process.terminate()
            process.wait(DEADLINE_SECS)
        assert "oneDNN" not in _read(said)
    assert process.returncode == -15


def _read(stream):
    """All that a process has written there by now, which also writes at its own place."""
    return os.pread(stream.fileno(), 1 << 20, 0).decode()


def points(board):
    return [
        [step, value] for _, step, value in board.json("plugin/scalars/scalars?run=train&tag=loss")
    ]


@pytest.mark.integration
def test_it_answers_with_the_scalars(tmp_path):
    run = write_run(tmp_path / "pets")
    # From its start, at which TensorFlow may say something.
    with opened("tensorboard", f"--workdir={run}", "--port=0", is_warm=False) as board:
        assert points(board) == [[5, 0.5]]


def test_curves_in_a_bucket_by_workdir_and_by_job(tmp_path, gcs, vertex_ai):
    gcs.upload(write_run(tmp_path / "pets"), "runs/pets")
    with opened("tensorboard", "--workdir=gs://bucket/runs/pets", "--port=0") as board:
        assert points(board) == [[5, 0.5]]
    vertex_ai.add("customJobs", "pets", "gs://bucket/runs/pets", "RUNNING")
    job = ["--job=pets", "--platform=vertex"]
    with opened("tensorboard", *job, "--port=0") as board:
        assert points(board) == [[5, 0.5]]


@pytest.mark.integration
def test_no_run_is_there(tmp_path):
    refused(graft("tensorboard", f"--workdir={tmp_path / 'none'}"), "there is no run")


def test_names_of_several():
    assert short_names(["runs/a", "gs://b/c"]) == ["a", "c"]
    assert short_names(["one/a", "two/a"]) == ["one/a", "two/a"]
