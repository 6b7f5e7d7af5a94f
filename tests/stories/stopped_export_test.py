"""SIGTERM while a run exports: it leaves at once, and the next command exports."""

import json
import signal
import time

import pytest

from tests.inputs import tiny
from tests.processes.gang import gang, train
from tests.tiers import GANG

pytestmark = pytest.mark.integration

# What the chief is about to do when the signal comes: to save the model, or to score it.
SAVES, SCORES = "trainer.engine.export:export", "trainer.engine.export:check"


@pytest.mark.parametrize(
    ("num_workers", "asked", "moment"),
    [(1, 0, SCORES), pytest.param(2, 1, SAVES, marks=GANG)],  # more: tests/storm/
)
def test_sigterm_in_the_export(gates, tmp_path, num_workers, asked, moment):
    assert_leaves_and_exports_later(gates(moment, 1), tmp_path, num_workers, asked)


def assert_leaves_and_exports_later(gate, root, num_workers, asked):
    """The worker that is `asked` gets a SIGTERM while the chief holds at `gate`."""
    words = [
        f"--dataset={tiny.write_folder(root / 'folder', train=8, validation=40)}",
        f"--backbone={tiny.write_backbone(root / 'backbone')}",
        "--num_steps=2",
        "--global_batch_size=2",  # the export is scored in 60 batches
        "--num_logical_shards=2",
        "--nolog_images",
        f"--workdir={root / 'run'}",
    ]
    with gang(num_workers, words, root / "said", prepare={0: gate}) as workers:
        gate.wait(*(worker.process for worker in workers))
        began = time.monotonic()
        workers[asked].process.send_signal(signal.SIGTERM)
        gate.open()
        assert [worker.end() for worker in workers] == [143] * num_workers
        assert time.monotonic() - began < 30  # what Kubernetes grants by default
        assert "exporting  the weights" in workers[0].output
        for worker in workers:
            assert "stopped by SIGTERM while exporting" in worker.errors
            assert "Traceback" not in worker.errors
    assert not (root / "run" / "metrics.json").exists()
    train(num_workers, words, root / "said")
    found = json.loads((root / "run" / "metrics.json").read_text())
    assert (found["global_step"], found["eval"]["num_examples"]) == (2, 120)
    assert (root / "run" / "export" / "saved_model.pb").exists()
