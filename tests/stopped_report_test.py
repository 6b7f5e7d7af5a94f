"""SIGTERM while a run finds out what its report shows: it leaves at the next batch."""

import json

from tests import tiny
from tests.commands import python

# In each of these the gathering reads in batches.
STAGES = ("pictures.identities", "duplicates.nearest", "mislabels.Regression", "pictures.read")

# The stage that is named first gets a SIGTERM as it begins, and says so if it comes to its end.
SCRIPT = """
import os, signal, sys
from trainer import task
from trainer.command_line import exit_process
from trainer.report import duplicates, mislabels, pictures

module, _, name = sys.argv.pop(1).partition(".")
stage = getattr(globals()[module], name)
def stopped(*arguments):
    os.kill(os.getpid(), signal.SIGTERM)
    result = stage(*arguments)
    print("came to its end", flush=True)
    return result

setattr(globals()[module], name, stopped)
exit_process(task.main(sys.argv[1:]))
"""


def test_sigterm_while_the_report_is_gathered(tmp_path):
    words = [
        f"--dataset={tiny.write_folder(tmp_path / 'folder', train=8, validation=3)}",
        f"--backbone={tiny.write_backbone(tmp_path / 'backbone')}",
        "--num_steps=2",
        "--global_batch_size=8",
        "--export_formats=",  # whose check would look for the signal, too
        f"--feature_cache={tmp_path / 'features'}",
        f"--workdir={tmp_path / 'run'}",
    ]
    for stage in STAGES:
        process = python("-c", SCRIPT, stage, *words)
        assert process.returncode == 143, (stage, process.stderr)
        assert "stopped by SIGTERM while exporting" in process.stderr
        assert "came to its end" not in process.stdout
        assert "no report" not in process.stdout
        assert not (tmp_path / "run" / "metrics.json").exists()
    process = python("-m", "trainer.task", *words)
    assert process.returncode == 0, process.stderr
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["report"] is True
