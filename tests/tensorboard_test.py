"""`graft tensorboard` as a process: it answers over HTTP with the scalars of the run."""

import contextlib
import re
import subprocess
import sys
import tempfile
import time

from tests.board import DEADLINE_SECS, Board
from tests.commands import graft, refused
from trainer.tensorboard import short_names


def write_run(root):
    from trainer.summaries import Summaries

    (root / "logs").mkdir(parents=True)
    (root / "config.json").write_text('{"config": {}}')
    summaries = Summaries(str(root / "logs"), 0)
    summaries.write("train", 5, {"loss": 0.5})
    summaries.close()
    return root


@contextlib.contextmanager
def opened(*words):
    """The page that a process of `graft` with `words` serves, once the run's loss is on it."""
    command = [sys.executable, "-m", "trainer", *words]
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            found = next(filter(None, (re.match(r"curves     (http://\S+/)", ln) for ln in lines)))
            board = Board(found[1])
            deadline = time.monotonic() + DEADLINE_SECS
            while "loss" not in board.json("plugin/scalars/tags").get("train", {}):
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield board
        finally:
            process.terminate()
        said.seek(0)
        assert "oneDNN" not in said.read()
    assert process.returncode == -15


def points(board):
    return [
        [step, value] for _, step, value in board.json("plugin/scalars/scalars?run=train&tag=loss")
    ]


def test_it_answers_with_the_scalars(tmp_path):
    run = write_run(tmp_path / "pets")
    with opened("tensorboard", f"--workdir={run}", "--port=0") as board:
        assert points(board) == [[5, 0.5]]


def test_curves_in_a_bucket_by_workdir_and_by_job(tmp_path, gcs, vertex_ai):
    gcs.upload(write_run(tmp_path / "pets"), "runs/pets")
    with opened("tensorboard", "--workdir=gs://bucket/runs/pets", "--port=0") as board:
        assert points(board) == [[5, 0.5]]
    vertex_ai.add("customJobs", "pets", "gs://bucket/runs/pets", "RUNNING")
    job = ["--job=pets", "--platform=vertex"]
    with opened("tensorboard", *job, "--port=0") as board:
        assert points(board) == [[5, 0.5]]


def test_no_run_is_there(tmp_path):
    refused(graft("tensorboard", f"--workdir={tmp_path / 'none'}"), "there is no run")


def test_names_of_several():
    assert short_names(["runs/a", "gs://b/c"]) == ["a", "c"]
    assert short_names(["one/a", "two/a"]) == ["one/a", "two/a"]
