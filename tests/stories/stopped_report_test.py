"""SIGTERM while a run finds out what its report shows: it leaves at the next batch."""

import dataclasses
import importlib
import json
import os
import signal

import pytest

from tests.inputs import tiny
from tests.processes.commands import graft

pytestmark = pytest.mark.integration

# In each of these the gathering reads in batches.
STAGES = ("pictures.identities", "duplicates.nearest", "mislabels.Regression", "pictures.read")


@dataclasses.dataclass(frozen=True)
class Stopped:
    """The stage gets a SIGTERM as it begins, and says so if it comes to its end."""

    stage: str

    def install(self):
        module_name, _, name = self.stage.partition(".")
        module = importlib.import_module(f"trainer.report.{module_name}")
        stage = getattr(module, name)

        def stopped(*arguments):
            os.kill(os.getpid(), signal.SIGTERM)
            result = stage(*arguments)
            print("came to its end", flush=True)
            return result

        setattr(module, name, stopped)


def test_sigterm_while_the_report_is_gathered(tmp_path):
    words = [
        "train",
        f"--dataset={tiny.write_folder(tmp_path / 'folder', train=8, validation=3)}",
        f"--backbone={tiny.write_backbone(tmp_path / 'backbone')}",
        "--num_steps=2",
        "--global_batch_size=8",
        "--export_formats=",  # whose check would look for the signal, too
        f"--feature_cache={tmp_path / 'features'}",
        f"--workdir={tmp_path / 'run'}",
    ]
    for stage in STAGES:
        process = graft(*words, prepare=Stopped(stage))
        assert process.returncode == 143, (stage, process.stderr)
        assert "stopped by SIGTERM while exporting" in process.stderr
        assert "came to its end" not in process.stdout
        assert "no report" not in process.stdout
        assert not (tmp_path / "run" / "metrics.json").exists()
    process = graft(*words)
    assert process.returncode == 0, process.stderr
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["report"] is True
