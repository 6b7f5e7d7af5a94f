"""Kill it anywhere: the result is the one it would have had, bit for bit.

A streaming source, augmentation, dropout, MixUp and fine-tuning: all that could remember.
"""

import os
import random
import signal
import time

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.commands import graft, metrics, start

NUM_STEPS = 240
NUM_KILLS = 10
DEADLINE_SECS = 120


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    directory = tmp_path_factory.mktemp("resume")
    folder = tiny.write_folder(directory / "folder", train=30, validation=8)
    process = graft("pack", f"--dataset={folder}", f"--output_dir={directory / 'packed'}")
    assert process.returncode == 0, process.stderr
    return [
        "train",
        f"--dataset={directory / 'packed'}",
        f"--backbone={tiny.write_backbone(directory / 'backbone')}",
        "--nofreeze_backbone",
        "--nofreeze_batch_norm",
        "--augment=light",
        "--mixup_alpha=0.2",
        "--dropout=0.1",
        "--shuffle_buffer_size=40",
        "--global_batch_size=16",
        f"--num_steps={NUM_STEPS}",
        "--checkpoint_every_steps=3",
        "--eval_every_epochs=9",
        "--log_every_steps=7",
    ]


@pytest.fixture(scope="module")
def undisturbed(arguments, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "undisturbed"
    process = graft(*arguments, f"--workdir={workdir}")
    assert process.returncode == 0, process.stderr
    return workdir


def test_ten_kills_leave_no_trace(arguments, undisturbed, tmp_path):
    seed = int(os.environ.get("GRAFT_TEST_SEED", random.SystemRandom().randrange(2**32)))
    print(f"GRAFT_TEST_SEED={seed}")
    rng = random.Random(seed)
    workdir = tmp_path / "killed"
    steps = sorted(rng.sample(range(NUM_STEPS), NUM_KILLS - 2))
    # Two more fall into the start of a process, where nothing is trained yet.
    moments = [("step", step) for step in steps] + [("secs", rng.uniform(0, 4)) for _ in range(2)]
    rng.shuffle(moments)
    moments.sort(key=lambda moment: moment[1] if moment[0] == "step" else rng.choice(steps))
    for kind, moment in moments:
        process = start(*arguments, f"--workdir={workdir}")
        began = time.monotonic()
        while process.poll() is None:
            reached = newest_step(workdir) if kind == "step" else time.monotonic() - began
            if reached >= moment:
                break
            assert time.monotonic() - began < DEADLINE_SECS, f"no {kind} {moment}"
            time.sleep(rng.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE_SECS)
    last = graft(*arguments, f"--workdir={workdir}")
    assert last.returncode == 0, last.stderr
    assert metrics(workdir) == metrics(undisturbed)
    assert_same_weights(workdir, undisturbed)
    for name in ("train", "eval"):
        assert curves(workdir, name) == curves(undisturbed, name)


def test_sigterm_saves_and_leaves_with_143(arguments, undisturbed, tmp_path):
    workdir = tmp_path / "preempted"
    # No checkpoint is due before the end: the one that is resumed from is SIGTERM's.
    rare = [a for a in arguments if "checkpoint" not in a] + ["--checkpoint_every_steps=9999"]
    process = start(*rare, f"--workdir={workdir}")
    logs = workdir / "logs" / "train"
    wait_until(lambda: logs.is_dir() and any(f.stat().st_size > 0 for f in logs.iterdir()))
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_SECS) == 143
    resumed = graft(*rare, f"--workdir={workdir}")
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming" in resumed.stdout
    assert metrics(workdir) == metrics(undisturbed)
    assert_same_weights(workdir, undisturbed)


def test_a_workdir_of_another_run_is_refused(arguments, undisturbed):
    process = graft(*arguments, f"--workdir={undisturbed}", "--seed=5", "--global_batch_size=32")
    assert process.returncode == 2
    assert "global_batch_size: 16 there, 32 now" in process.stderr
    assert "seed: 0 there, 5 now" in process.stderr
    assert "Traceback" not in process.stderr


def wait_until(condition):
    deadline = time.monotonic() + DEADLINE_SECS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def newest_step(workdir):
    directory = workdir / "checkpoints"
    names = [p.parent.name for p in directory.glob("*/MANIFEST.json")]
    return max((int(name.split("_")[1]) for name in names), default=-1)


def assert_same_weights(one, other):
    name = f"checkpoints/step_{NUM_STEPS:08d}/variables"
    readers = [tf.train.load_checkpoint(str(workdir / name)) for workdir in (one, other)]
    shapes = readers[0].get_variable_to_shape_map()
    assert shapes == readers[1].get_variable_to_shape_map()
    assert len(shapes) > 20  # head, backbone, statistics, and Adam's two slots
    for variable in shapes:
        if variable != "_CHECKPOINTABLE_OBJECT_GRAPH":
            first, second = (reader.get_tensor(variable) for reader in readers)
            np.testing.assert_array_equal(first, second, err_msg=variable)


def curves(workdir, name):
    """(step, tag) -> value, but for speed; asserts that steps never go backwards."""
    found = {}
    for path in sorted((workdir / "logs" / name).iterdir()):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                key = (event.step, value.tag)
                assert key not in found, f"{key} is written twice"
                if value.tag != "examples_per_sec":
                    found[key] = tf.make_ndarray(value.tensor).item()
    assert found
    return found
