import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tests.processes.commands import script
from trainer.engine import fused_optimizers

keras = tf_keras.optimizers
SHAPES = [(3, 3, 8, 4), (5,), ()]


def trained(optimizer, strategy=None):
    """Variables and slots after 30 steps on random gradients, the last ten of them tiny."""
    rng = np.random.default_rng(0)
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        variables = [tf.Variable(rng.normal(size=shape).astype("f")) for shape in SHAPES]
        optimizer.build(variables)

    @tf.function(autograph=False)
    def step(gradients):
        def update():
            optimizer.apply_gradients(
                zip(gradients, variables, strict=True), skip_gradients_aggregation=True
            )

        strategy.run(update)

    for number in range(30):
        scale = 1e-6 if number >= 20 else 1.0
        step([tf.constant(rng.normal(size=s, scale=scale).astype("f")) for s in SHAPES])
    return [v.numpy() for v in (*variables, *optimizer.variables)], variables


def pairs():
    rate = keras.schedules.PiecewiseConstantDecay([5, 15], [0.1, 0.01, 0.003])
    for decay in (None, 0.05):
        yield fused_optimizers.Adam(rate, weight_decay=decay), keras.Adam(rate, weight_decay=decay)
        yield (
            fused_optimizers.SGD(rate, momentum=0.9, weight_decay=decay),
            keras.SGD(rate, momentum=0.9, nesterov=True, weight_decay=decay),
        )
    yield fused_optimizers.Adam(rate, weight_decay=0.05), keras.AdamW(rate, weight_decay=0.05)


@pytest.mark.parametrize("pair", list(pairs()), ids=lambda pair: type(pair[1]).__name__)
def test_the_same_as_keras(pair):
    (ours, _), (theirs, _) = map(trained, pair)
    assert len(ours) == len(theirs) > len(SHAPES)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)


ON_TWO_DEVICES = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tests.engine.fused_optimizers_test import check_every_replica
check_every_replica()
"""


def check_every_replica():
    scaled = tf_keras.mixed_precision.LossScaleOptimizer
    for make in (
        lambda: fused_optimizers.Adam(0.1, weight_decay=0.05),
        lambda: fused_optimizers.SGD(0.1, momentum=0.9, weight_decay=0.05),
        lambda: scaled(fused_optimizers.Adam(0.1)),
    ):
        alone, _ = trained(make())
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        together, variables = trained(make(), strategy)
        for variable in variables:
            copies = [copy.numpy() for copy in strategy.experimental_local_results(variable)]
            np.testing.assert_array_equal(*copies)
        for mine, other in zip(together, alone, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)
        print("same")


@pytest.mark.integration
def test_every_replica_is_updated():
    process = script(ON_TWO_DEVICES)
    assert process.stdout.splitlines() == ["same"] * 3, process.stderr


def test_a_checkpoint_of_keras_is_read(tmp_path):
    theirs, mine = keras.Adam(0.1), fused_optimizers.Adam(0.1)
    expected, _ = trained(theirs)
    variables = [tf.Variable(tf.zeros(shape)) for shape in SHAPES]
    mine.build(variables)
    path = tf.train.Checkpoint(optimizer=theirs).write(str(tmp_path / "kept"))
    tf.train.Checkpoint(optimizer=mine).read(path).assert_consumed()
    slots = [v.numpy() for v in mine.variables]
    for slot, other in zip(slots, expected[len(SHAPES) :], strict=True):
        np.testing.assert_array_equal(slot, other)
