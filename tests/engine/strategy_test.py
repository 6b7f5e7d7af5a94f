import os

import numpy as np
import pytest
import tensorflow as tf

from tests.processes.commands import script
from trainer.engine import strategy
from trainer.process.errors import UserError


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
from trainer.engine import strategy
from trainer.process.errors import UserError
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


@pytest.mark.integration
def test_build_on_three_devices(monkeypatch):
    for name in [name for name in os.environ if name.startswith("TPU_")]:
        monkeypatch.delenv(name)
    process = script(PROGRAM)
    lines = process.stdout.splitlines()
    assert lines[:4] == [
        "OneDeviceStrategy 1 CPU",
        "OneDeviceStrategy 1 CPU",
        "MirroredStrategy 3 CPUs",
        "--num_logical_shards=8: must be a multiple of the number of devices, 3; use 9, and a "
        "--global_batch_size that it divides",
    ], process.stderr
    assert lines[4].startswith("--strategy=tpu: no TPU can be reached (")
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("precision", "float16", "bfloat16"),
    [("float32", False, False), ("mixed_float16", True, False), ("mixed_bfloat16", False, True)],
)
def test_arithmetic_holds_within_and_not_after(precision, float16, bfloat16):
    def options():
        found = tf.config.optimizer.get_experimental_options()
        names = "auto_mixed_precision", "auto_mixed_precision_onednn_bfloat16"
        return tuple(found.get(name, False) for name in names)

    with strategy.arithmetic(precision):
        assert options() == (float16, bfloat16)
    assert options() == (False, False)


def test_gradients_of_a_depthwise_convolution_are_not_in_bfloat16():
    """Nothing is in bfloat16 on a processor that does not multiply it."""

    @tf.function
    def gradients(images, filters, dy):
        with tf.GradientTape() as tape:
            tape.watch([images, filters])
            maps = tf.nn.depthwise_conv2d(images, filters, [1, 2, 2, 1], "SAME")
            loss = tf.reduce_sum(maps * dy)
        return tape.gradient(loss, [images, filters])

    shapes = [4, 32, 32, 16], [3, 3, 16, 1], [4, 16, 16, 16]
    values = [tf.random.stateless_normal(shape, [i, 7]) for i, shape in enumerate(shapes)]
    expected = gradients(*values)
    with strategy.arithmetic("mixed_bfloat16"):
        found = tf.function(gradients.python_function)(*values)
    for gradient, exact in zip(found, expected, strict=True):
        np.testing.assert_allclose(gradient, exact, rtol=1e-5, atol=1e-4)


def test_sums_beside_gradients_are_not_in_bfloat16():
    """Nothing is in bfloat16 on a processor that does not multiply it."""

    def buffer(features, kernel, figure):
        products = tf.matmul(features, kernel)
        return tf.concat([tf.reshape(products, [-1]), tf.stack([figure, figure])], 0) + 0.0

    features, kernel = (tf.random.stateless_normal([64, 64], [i, 7]) for i in range(2))
    exact = tf.reshape(features @ kernel, [-1])
    has_bfloat16 = bool({"avx512_bf16", "amx_bf16"} & strategy.cpu_flags())
    for num_replicas, expected in ((1, 256 if has_bfloat16 else 257), (2, 257)):
        with strategy.arithmetic("mixed_bfloat16", num_replicas):
            found = tf.function(buffer)(features, kernel, tf.constant(257.0))
        np.testing.assert_array_equal(found[-2:], expected)
        np.testing.assert_allclose(found[:-2], exact, atol=0.5)
        assert np.array_equal(found[:-2], exact) is not has_bfloat16
    assert not [name for name in os.environ if name.endswith("CLEARLIST_REMOVE")]


def test_float16_keeps_all_that_tensorflow_converts(monkeypatch):
    name = "TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_ALLOWLIST_REMOVE"
    monkeypatch.delenv(name, raising=False)
    with strategy.arithmetic("mixed_float16"):
        assert name not in os.environ


@pytest.mark.parametrize(
    ("name", "is_frozen", "num_gpus", "flags", "expected"),
    [
        ("auto", True, 0, {"avx512_bf16"}, "mixed_bfloat16"),
        ("auto", True, 0, {"amx_bf16", "avx2"}, "mixed_bfloat16"),
        ("auto", True, 0, {"avx2"}, "float32"),
        ("auto", False, 0, {"avx512_bf16"}, "float32"),
        ("auto", True, 1, {"avx512_bf16"}, "float32"),
        ("float32", True, 0, {"avx512_bf16"}, "float32"),
        ("mixed_float16", False, 2, set(), "mixed_float16"),
    ],
)
def test_precision_follows_the_processor(name, is_frozen, num_gpus, flags, expected):
    assert strategy.choose_precision(name, is_frozen, num_gpus, flags) == expected


def test_bfloat16_on_a_gpu_is_refused():
    with pytest.raises(UserError, match=r"--precision=mixed_bfloat16: .*mixed_float16"):
        strategy.choose_precision("mixed_bfloat16", True, 1, {"avx512_bf16"})


@pytest.mark.integration
def test_a_quota_limits_tensorflows_threads():
    program = (
        "import sys, os; from trainer.engine import strategy; import tensorflow as tf;"
        "strategy.limit_threads(int(sys.argv[1]));"
        "print(tf.config.threading.get_intra_op_parallelism_threads(),"
        " tf.config.threading.get_inter_op_parallelism_threads())"
    )
    cores = len(os.sched_getaffinity(0))
    for limit, expected in ((1, "1 1" if cores > 1 else "0 0"), (cores, "0 0")):
        shown = script(program, limit)
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout.split("\n")[-2] == expected
