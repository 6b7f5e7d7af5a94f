"""The contract each backbone must keep, fine-tuning, and two replicas."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tests.inputs.saved_models import IMAGES, load, save, tiny
from tests.processes.commands import script
from trainer.process.errors import UserError


@pytest.mark.integration
def test_embedded_backbone(tmp_path):
    embedded_cache = str(tmp_path)
    loaded = load("efficientnet_lite0", embedded_cache)
    assert (loaded.image_size, loaded.value_range) == ((224, 224), (0.0, 1.0))
    assert loaded.num_features == 1280
    assert loaded.trainable_variables == ()
    assert sum(np.prod(v.shape) for v in loaded.variables) == 3_413_024
    assert os.listdir(embedded_cache) == [os.path.basename(loaded.path)]
    written = os.stat(f"{loaded.path}/saved_model.pb").st_mtime_ns
    again = load("efficientnet_lite0", embedded_cache, trainable=True)
    assert os.stat(f"{again.path}/saved_model.pb").st_mtime_ns == written
    assert again.digest == loaded.digest
    assert len(again.trainable_variables) == 147
    with pytest.raises(UserError, match=r"--image_size=192: .* takes images of 224x224 only"):
        load("efficientnet_lite0", embedded_cache, image_size=192)


def test_a_directory_with_a_static_size(tmp_path):
    loaded = load(tiny(tmp_path / "münze model"))
    assert loaded.image_size == (8, 6)
    assert loaded.num_features == 4
    assert loaded.handle == loaded.path == str(tmp_path / "münze model")
    features = loaded(tf.ones([5, 8, 6, 3]), training=True)
    assert features.numpy().tolist() == [[1, 2, 3, 0]] * 5


def test_training_mode_needs_all_three(tmp_path):
    handle = tiny(tmp_path / "model")
    images = tf.zeros([1, 8, 6, 3])
    for trainable in (False, True):
        for batch_norm_training in (False, True):
            loaded = load(handle, trainable=trainable, batch_norm_training=batch_norm_training)
            assert len(loaded.trainable_variables) == trainable
            assert len(loaded.variables) == 2
            for training in (False, True):
                mode = loaded(images, training=training)[0, 3]
                assert mode == float(trainable and batch_norm_training and training)


def test_a_free_size_is_224_or_what_is_asked_for(tmp_path):
    handle = tiny(tmp_path / "model", tf.TensorSpec([None, None, None, 3]))
    assert load(handle).image_size == (224, 224)
    assert load(handle, image_size=32).image_size == (32, 32)


def test_value_range_is_applied(tmp_path):
    integers = tiny(tmp_path / "integers", tf.TensorSpec([None, 8, 6, 3], tf.uint8))
    images = tf.fill([1, 8, 6, 3], 0.5)
    loaded = load(integers)
    assert loaded.value_range == (0.0, 255.0)
    assert loaded(images)[0, 0] == 128
    handle = tiny(tmp_path / "floats")
    assert load(handle)(images)[0, 0] == 0.5
    assert load(handle, value_range=(-1.0, 1.0))(images)[0, 0] == 0.0
    assert load(handle, value_range=(0.0, 255.0))(images)[0, 0] == 127.5


def test_tf1_formats_are_refused(tmp_path):
    hub_module = pathlib.Path(tiny(tmp_path / "hub_module"))
    (hub_module / "tfhub_module.pb").write_bytes(b"\x08\x03")
    with pytest.raises(UserError, match=r"TF1 Hub format.*Take a TF2"):
        load(str(hub_module))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        images = tf.compat.v1.placeholder(tf.float32, [None, 8, 6, 3])
        features = tf.reduce_mean(images, [1, 2])
        builder = tf.compat.v1.saved_model.Builder(str(tmp_path / "tf1"))
        signature = tf.compat.v1.saved_model.predict_signature_def({"x": images}, {"y": features})
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    with pytest.raises(UserError, match=r"cannot be called \(its signatures: serving_default\)"):
        load(str(tmp_path / "tf1"))


def test_a_root_without_a_call_is_refused(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path))
    with pytest.raises(UserError, match=r"cannot be called \(its signatures: none\)"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("spec", "call", "message"),
    [
        (
            tf.TensorSpec([None], tf.string),
            lambda x, training: tf.zeros([tf.size(x), 2]),
            r"it takes string \(None,\); a backbone takes images",
        ),
        (
            tf.TensorSpec([None, 8, 6, 1]),
            lambda x, training: tf.reduce_mean(x, [1, 2]),
            r"it takes float32 \(None, 8, 6, 1\); a backbone takes images",
        ),
        (IMAGES, lambda x, training: x, r"returns shape \(2, 8, 6, 3\).*'feature vector'"),
        (IMAGES, lambda x, training: {"boxes": x}, "returns a dict"),
        (IMAGES, lambda x, training: tf.math.log(-x[:, 0, 0]), "not finite.*--image_range"),
        (
            IMAGES,
            lambda x, training: tf.ensure_shape(x[:, 0, 0], [1, 3]),
            r"fails: Dimension 0 in both shapes must be equal, but are 1 and 2",
        ),
    ],
)
def test_a_model_that_breaks_the_contract_is_refused(tmp_path, spec, call, message):
    handle = save(tmp_path / "model", call, spec)
    with pytest.raises(UserError, match=message) as refused:
        load(handle)
    assert f"--backbone={handle}: " in str(refused.value)


def test_fine_tuning_needs_trainable_variables(tmp_path):
    handle = save(tmp_path / "model", lambda x, training: tf.reduce_mean(x, [1, 2]), IMAGES)
    assert load(handle).num_features == 3
    with pytest.raises(UserError, match=r"no trainable variables.*--freeze_backbone"):
        load(handle, trainable=True)


def test_fine_tuned_variables_survive_a_checkpoint(tmp_path):
    handle = tiny(tmp_path / "model")
    trained = load(handle, trainable=True)
    trained.trainable_variables[0].assign([4.0, 5.0, 6.0])
    path = tf.train.Checkpoint(backbone=trained.module).write(str(tmp_path / "checkpoint"))
    fresh = load(handle, trainable=True)
    tf.train.Checkpoint(backbone=fresh.module).read(path).assert_consumed()
    images = tf.ones([1, 8, 6, 3])
    assert fresh(images).numpy().tolist() == [[4, 5, 6, 0]]


# In a process of its own: devices can be divided only before TensorFlow's first use.
TWO_REPLICAS = """
import sys
import numpy as np
import tensorflow as tf
import tf_keras
from trainer.models import backbone

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
handle, export_dir = sys.argv[1:]
images = tf.random.stateless_uniform([4, 16, 16, 3], [1, 2])

def train(strategy):
    with strategy.scope():
        network = backbone.load(
            handle, trainable=True, batch_norm_training=False, cache_dir="unused")
        optimizer = tf_keras.optimizers.SGD(0.1)
        optimizer.build(network.trainable_variables)
    share = 4 // strategy.num_replicas_in_sync

    def replica(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(network(images, training=True)) / 4
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables))

    shares = strategy.experimental_distribute_values_from_function(
        lambda context: images[context.replica_id_in_sync_group * share :][:share])
    tf.function(strategy.run)(replica, args=(shares,))
    return network

mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
both, alone = train(mirrored), train(tf.distribute.get_strategy())
for variable, reference in zip(both.variables, alone.variables, strict=True):
    first, second = mirrored.experimental_local_results(variable)
    assert np.array_equal(first, second), variable.name
    np.testing.assert_allclose(first, reference, rtol=1e-5, atol=1e-6, err_msg=variable.name)

exported = tf.Module()
exported.backbone = both.module
exported.features = tf.function(both, input_signature=[tf.TensorSpec([None, 16, 16, 3])])
tf.saved_model.save(exported, export_dir)
served = tf.saved_model.load(export_dir)
before = backbone.load(handle, trainable=False, batch_norm_training=False, cache_dir="unused")
np.testing.assert_allclose(served.features(images), alone(images), rtol=1e-5, atol=1e-6)
assert np.abs(before(images) - alone(images)).max() > 1e-2
"""


@pytest.mark.integration
def test_two_replicas_fine_tune_as_one_does(tmp_path):
    import tf_keras

    network = tf_keras.Sequential(
        [
            tf_keras.layers.Conv2D(4, 3, strides=2, input_shape=[16, 16, 3]),
            tf_keras.layers.BatchNormalization(),
            tf_keras.layers.DepthwiseConv2D(3, activation="relu"),
            tf_keras.layers.GlobalMaxPooling2D(),
        ]
    )
    handle = save(
        tmp_path / "model",
        lambda images, training: network(images, training=training),
        tf.TensorSpec([None, 16, 16, 3]),
        variables=network.variables,
        trainable=network.trainable_variables,
    )
    process = script(TWO_REPLICAS, handle, tmp_path / "export")
    assert process.returncode == 0, process.stderr
