"""What a workdir says of its run, on files as a run writes them."""

import json

import pytest

from trainer.process.errors import Preempted
from trainer.settings.config import Config
from trainer.storage import api as storage
from trainer.workdir import status as run_status
from trainer.workdir.goodput import Ledger
from trainer.workdir.state import RunState

BEGAN = 1_700_000_000.0


@pytest.fixture
def workdir(tmp_path):
    """Of a run of 3 epochs, 32 steps each, in its second process, with 40 steps done."""
    root = tmp_path / "run"
    config = Config(workdir=str(root), num_epochs=3, global_batch_size=32)
    content = {"config": config.to_dict(), "identity": {"num_train_examples": 1034}}
    storage.ensure_directory(str(root), "workdir")
    storage.write_json(f"{root}/config.json", content)
    earlier = b""
    for start, step in ((0.0, 32), (40.0, 40)):
        clock = [BEGAN + start]
        published: list[bytes] = []

        def now(clock=clock):
            return clock[0]

        ledger = Ledger(now, None, earlier, published.append)
        ledger.start_phase("step")
        clock[0] += 30.0
        ledger.add_steps(step, 8, 30.0, 0.0)
        ledger.write()
        earlier = published[-1]
    (root / "goodput.jsonl").write_bytes(earlier)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "weights").write_bytes(b"w")
    best = {"global_step": 32, "accuracy": 0.75, "loss": 0.5}
    state = RunState(
        global_step=36,
        train={"loss": 0.25, "accuracy": 0.875},
        best=best,
        examples_per_sec=64.0,
    )
    for step in (32, 36):
        state.global_step = step
        facts = {"global_step": step, "state": state.to_dict()}
        storage.publish(str(scratch), f"{root}/checkpoints/step_{step:08d}", facts)
    (root / "checkpoints" / "step_00000040").mkdir()  # not complete
    return str(root)


def test_a_run_in_its_second_process(workdir):
    assert run_status.read(workdir, BEGAN + 75) == {
        "workdir": workdir,
        "phase": "running",
        "global_step": 40,
        "num_steps": 96,
        "train": {"loss": 0.25, "accuracy": 0.875},
        "best": {"global_step": 32, "accuracy": 0.75, "loss": 0.5},
        "examples_per_sec": 64.0,
        "secs_left": 28.0,
        "last_checkpoint": 36,
        "restarts": 1,
        "wall_secs": 70.0,
        "in_steps": round(60 / 70, 4),
        "silent_secs": 5.0,
    }


def test_in_lines(workdir):
    assert run_status.describe(run_status.read(workdir, BEGAN + 75)) == [
        f"run        running; {workdir}",
        "step       40 of 96, 28 s left",
        "training   loss 0.2500, accuracy 0.8750, 64 images a second",
        "best       accuracy 0.7500 at step 32",
        "checkpoint step 36",
        "goodput    86% of 70 s in steps; restarts 1",
    ]


@pytest.mark.parametrize(("age", "phase"), [(60, "running"), (61, "silent")])
def test_a_run_that_says_nothing(workdir, age, phase):
    status = run_status.read(workdir, BEGAN + 70 + age)
    assert (status["phase"], status["silent_secs"]) == (phase, age)
    if phase == "silent":
        assert "no update for 61 s: killed, or busy" in run_status.describe(status)[0]


@pytest.mark.parametrize("age", [1, 100])
def test_a_run_that_was_stopped(workdir, age):
    content = storage.read_bytes(f"{workdir}/goodput.jsonl")
    ledger = Ledger(lambda: BEGAN + 80, None, content, lambda text: published.append(text))
    published: list[bytes] = []
    with pytest.raises(Preempted), ledger.recording_stop():
        raise Preempted("stopped by SIGTERM")
    storage.write_atomically(f"{workdir}/goodput.jsonl", published[-1])
    status = run_status.read(workdir, BEGAN + 80 + age)
    assert (status["phase"], status["secs_left"], status["restarts"]) == ("stopped", None, 2)
    assert run_status.describe(status)[:2] == [
        f"run        stopped; the same command resumes it; {workdir}",
        "step       40 of 96",
    ]
    Ledger(lambda: BEGAN + 90, None, published[-1], published.append).write()  # it goes on
    storage.write_atomically(f"{workdir}/goodput.jsonl", published[-1])
    assert run_status.read(workdir, BEGAN + 91)["phase"] == "running"


def test_a_finished_run_and_one_that_was_prolonged(workdir):
    figures = {"global_step": 40, "train": {"loss": 0.1, "accuracy": 1.0}}
    storage.write_json(f"{workdir}/metrics.json", figures)
    status = run_status.read(workdir, BEGAN + 1000)
    assert (status["phase"], status["secs_left"]) == ("finished", None)
    assert status["train"] == figures["train"]
    storage.write_json(f"{workdir}/metrics.json", {**figures, "global_step": 32})
    assert run_status.read(workdir, BEGAN + 71)["phase"] == "running"


def test_no_run_yet(tmp_path):
    status = run_status.read(str(tmp_path / "none"), BEGAN)
    known = {key: value for key, value in status.items() if value is not None}
    assert known == {"workdir": str(tmp_path / "none"), "phase": "absent", "restarts": 0}
    assert run_status.describe(status) == [f"run        nothing in {tmp_path / 'none'} yet"]


def test_a_run_before_its_first_checkpoint_and_files_that_are_cut(workdir, tmp_path):
    root = tmp_path / "young"
    root.mkdir()
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    (root / "config.json").write_text(json.dumps(settings))
    (root / "goodput.jsonl").write_bytes(b'{"began": 1')
    (root / "metrics.json").write_text("{")
    status = run_status.read(str(root), BEGAN)
    assert (status["phase"], status["global_step"], status["num_steps"]) == ("running", 0, 96)
    assert run_status.describe(status)[1] == "step       0 of 96"
