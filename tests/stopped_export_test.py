"""SIGTERM while a run exports: it leaves at once, and the next command exports."""

import json
import signal
import time

import pytest

from tests import tiny
from tests.gang import DEADLINE_SECS, gang, train


@pytest.mark.parametrize(("num_workers", "asked"), [(1, 0), (2, 0), (2, 1)])
def test_sigterm_in_the_export(tmp_path, num_workers, asked):
    words = [
        f"--dataset={tiny.write_folder(tmp_path / 'folder', train=8, validation=40)}",
        f"--backbone={tiny.write_backbone(tmp_path / 'backbone')}",
        "--num_steps=2",
        "--global_batch_size=2",  # the export is scored in 60 batches
        "--num_logical_shards=2",
        f"--workdir={tmp_path / 'run'}",
    ]
    with gang(num_workers, words, tmp_path / "said") as workers:
        deadline = time.monotonic() + DEADLINE_SECS
        while "exporting  the weights" not in workers[0].output:
            assert time.monotonic() < deadline
            assert workers[0].process.poll() is None, workers[0].errors
            time.sleep(0.01)
        began = time.monotonic()
        workers[asked].process.send_signal(signal.SIGTERM)
        assert [worker.end() for worker in workers] == [143] * num_workers
        assert time.monotonic() - began < 30  # what Kubernetes grants by default
        for worker in workers:
            assert "stopped by SIGTERM while exporting" in worker.errors
            assert "Traceback" not in worker.errors
    assert not (tmp_path / "run" / "metrics.json").exists()
    train(num_workers, words, tmp_path / "said")
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (found["global_step"], found["eval"]["num_examples"]) == (2, 120)
    assert (tmp_path / "run" / "export" / "saved_model.pb").exists()
