"""What a run keeps until its process ends."""

import time

import pytest

from tests.inputs import tiny
from tests.processes.commands import python, script
from trainer.workdir import status

pytestmark = pytest.mark.integration

# Says when the training's batches are made, and when they are taken down; meanwhile SIGTERM comes.
SCRIPT = """
import os, signal, sys, weakref
from trainer.settings.command_line import exit_process
from trainer.engine.run import Run
from trainer import task

make = Run.training_batches
def watched(*arguments):
    batches = make(*arguments)
    weakref.finalize(batches, print, "taken down", flush=True)
    print("made", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    return batches

Run.training_batches = watched
exit_process(task.main(sys.argv[1:]))
"""


def test_a_stopped_run_waits_for_no_pipeline(tmp_path):
    process = script(
        *(SCRIPT, f"--workdir={tmp_path / 'run'}", "--global_batch_size=8"),
        f"--dataset={tiny.write_folder(tmp_path / 'folder', train=8, validation=3)}",
        *(f"--backbone={tiny.write_backbone(tmp_path / 'backbone')}", "--augment=light"),
    )
    assert process.returncode == 143, process.stderr
    assert "stopped by SIGTERM after step 0" in process.stderr
    assert "made" in process.stdout
    assert "taken down" not in process.stdout
    assert status.read(str(tmp_path / "run"), time.time())["phase"] == "stopped"


def test_a_run_leaves_no_temporary_files(tmp_path):
    (tmp_path / "tmp").mkdir()
    process = python(  # of its own: Python looks for TMPDIR once
        *("-m", "trainer", "train", f"--workdir={tmp_path / 'run'}", "--num_epochs=1"),
        f"--dataset={tiny.write_folder(tmp_path / 'folder', train=16, validation=3)}",
        f"--backbone={tiny.write_backbone(tmp_path / 'backbone')}",
        TMPDIR=str(tmp_path / "tmp"),
    )
    assert process.returncode == 0, process.stderr
    assert list((tmp_path / "tmp").iterdir()) == []
