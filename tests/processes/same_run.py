"""A run that could remember much, and what it means that two runs came to the same."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tests.inputs import tiny
from tests.processes.commands import graft, metrics
from tests.processes.gang import SPEED, curve, pictures

NUM_STEPS = 120
DEADLINE_SECS = 120


def arguments(directory: Path) -> list[str]:
    """Of a streaming source, augmentation, dropout, MixUp and fine-tuning; no workdir."""
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
        "--nolog_images",  # whose pipeline takes as long as all these steps
    ]


def assert_same_run(one: Path, other: Path, num_steps: int = NUM_STEPS) -> None:
    """The same figures, weights, slots and curves, bit for bit."""
    assert metrics(one) == metrics(other)
    assert_same_weights(one, other, num_steps)
    for name in ("train", "eval"):
        assert curve(one, name) == curve(other, name)
        assert pictures(one, name) == pictures(other, name)
    assert lines(one) == lines(other) != []


def lines(workdir: Path) -> list[dict[str, Any]]:
    """Of curves.jsonl, but for time and speed; asserts that they are there."""
    found = []
    for line in (workdir / "logs" / "curves.jsonl").read_bytes().splitlines():
        point = json.loads(line)
        of_time = ["wall_time", *(SPEED if point["curve"] == "train" else ())]
        assert all(point.pop(name) >= 0 for name in of_time)
        found.append(point)
    return found


def wait_until(condition):
    deadline = time.monotonic() + DEADLINE_SECS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def assert_same_weights(one, other, num_steps=NUM_STEPS):
    name = f"checkpoints/step_{num_steps:08d}/variables"
    readers = [tf.train.load_checkpoint(str(workdir / name)) for workdir in (one, other)]
    shapes = readers[0].get_variable_to_shape_map()
    assert shapes == readers[1].get_variable_to_shape_map()
    assert len(shapes) > 20  # head, backbone, statistics, and Adam's two slots
    for variable in shapes:
        if variable != "_CHECKPOINTABLE_OBJECT_GRAPH":
            first, second = (reader.get_tensor(variable) for reader in readers)
            np.testing.assert_array_equal(first, second, err_msg=variable)
