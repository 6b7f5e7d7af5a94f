import os
import subprocess
import sys

import pytest
import tensorflow as tf

from trainer import strategy


@pytest.mark.parametrize(
    ("name", "num_gpus", "tpu", "expected"),
    [
        ("auto", 0, False, "one_device"),
        ("auto", 1, False, "one_device"),
        ("auto", 2, False, "mirrored"),
        ("auto", 0, True, "tpu"),
        ("auto", 8, True, "tpu"),
        ("one_device", 8, True, "one_device"),
        ("mirrored", 0, False, "mirrored"),
        ("tpu", 2, False, "tpu"),
    ],
)
def test_choose(name, num_gpus, tpu, expected):
    assert strategy.choose(name, num_gpus, tpu) == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"TPU_NAME": ""}, False),
        ({"TPU_NAME": "local"}, True),
        ({"TPU_WORKER_ID": "0"}, True),
        ({"TPU_LOG": "1"}, False),
    ],
)
def test_has_tpu(environment, expected):
    assert strategy.has_tpu(environment) == expected


PROGRAM = """
import sys
import tensorflow as tf
from trainer import strategy
from trainer.errors import UserError
tf.config.set_visible_devices([], "GPU")
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
for name, shards in (("auto", 8), ("one_device", 7), ("mirrored", 6), ("mirrored", 8), ("tpu", 8)):
    try:
        built = strategy.build(name, shards)
        print(type(built).__name__, strategy.describe(built))
    except UserError as error:
        print(error)
"""


def test_build_on_three_devices():
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TPU_")}
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment
    )
    lines = process.stdout.splitlines()
    assert lines[:4] == [
        "OneDeviceStrategy 1 CPU",
        "OneDeviceStrategy 1 CPU",
        "MirroredStrategy 3 CPU",
        "--num_logical_shards=8: must be a multiple of the number of devices, 3; use 9, and a "
        "--global_batch_size that it divides",
    ], process.stderr
    assert lines[4].startswith("--strategy=tpu: no TPU can be reached (")
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("precision", "float16", "bfloat16"),
    [
        ("mixed_bfloat16", False, True),
        ("mixed_float16", True, False),
        ("float32", False, False),
    ],
)
def test_set_precision(precision, float16, bfloat16):
    try:
        strategy.set_precision(precision)
        options = tf.config.optimizer.get_experimental_options()
        assert options.get("auto_mixed_precision") == float16
        assert options.get("auto_mixed_precision_onednn_bfloat16") == bfloat16
    finally:
        strategy.set_precision("float32")
