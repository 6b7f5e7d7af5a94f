"""Handles of every kind, the contract each backbone must keep, and two replicas."""

import io
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import time
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from trainer.errors import UserError
from trainer.models import backbone, handles

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def embedded_cache(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


def save(path: pathlib.Path, call, *specs, variables=None, trainable=None) -> str:
    """A SavedModel whose root computes `call`; traced for `specs` and both training modes."""

    class Root(tf.Module):
        variables: Any = None
        trainable_variables: Any = None

    root = Root()
    root.variables = variables or []
    root.trainable_variables = variables if trainable is None else trainable

    @tf.function
    def traced(inputs, training=False):
        return call(inputs, training)

    for spec in specs:
        for training in (False, True):
            traced.get_concrete_function(spec, training=training)
    root.__call__ = traced
    tf.saved_model.save(root, str(path))
    return str(path)


IMAGES = tf.TensorSpec([None, 8, 6, 3], tf.float32, name="inputs")


def tiny(path: pathlib.Path, spec=IMAGES) -> str:
    """Mean color times a trainable weight, and 1 where it runs in training mode."""
    weight = tf.Variable([1.0, 2.0, 3.0], name="weight")
    calls = tf.Variable(0, trainable=False, name="calls")

    def call(images, training):
        mode = tf.fill([tf.shape(images)[0], 1], float(training))
        colors = tf.reduce_mean(tf.cast(images, tf.float32), [1, 2])
        return tf.concat([colors * weight, mode], axis=1)

    return save(path, call, spec, variables=[weight, calls], trainable=[weight])


def load(handle: str, cache_dir: str = "unused", *, trainable: bool = False, **options):
    return backbone.load(handle, trainable=trainable, cache_dir=cache_dir, **options)


def test_embedded_backbone(embedded_cache):
    loaded = load("efficientnet_lite0", embedded_cache)
    assert (loaded.image_size, loaded.value_range) == ((224, 224), (0.0, 1.0))
    assert loaded.num_features == 1280
    assert loaded.trainable_variables == ()
    assert sum(np.prod(v.shape) for v in loaded.variables) == 3_413_024
    assert os.listdir(embedded_cache) == [os.path.basename(loaded.path)]
    written = os.stat(loaded.path).st_mtime_ns
    again = load("efficientnet_lite0", embedded_cache, trainable=True)
    assert os.stat(again.path).st_mtime_ns == written
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


def test_the_digest_names_the_files_that_are_loaded(tmp_path):
    handle = tiny(tmp_path / "model")
    digest = load(handle).digest
    assert len(digest) == 64
    (tmp_path / "model" / "notes.txt").write_text("mine")
    (tmp_path / "model").rename(tmp_path / "moved")
    assert load(str(tmp_path / "moved")).digest == digest
    data = tmp_path / "moved" / "variables" / "variables.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    assert handles.digest("model", str(tmp_path / "moved")) != digest


@pytest.mark.parametrize("top", [".", "a_directory"])
def test_an_archive_is_extracted_once(tmp_path, top):
    directory = tiny(tmp_path / "model")
    archive, cache = str(tmp_path / "model.tar.gz"), str(tmp_path / "cache")
    with tarfile.open(archive, "w:gz") as file:
        file.add(directory, arcname=top)
    loaded = load(archive, cache)
    assert loaded.digest == load(directory).digest
    assert loaded.path.startswith(cache)
    before = os.stat(loaded.path).st_ctime_ns
    assert load(archive, cache).path == loaded.path
    assert os.stat(loaded.path).st_ctime_ns == before
    assert len(os.listdir(cache)) == 1


def test_what_a_killed_process_left_is_removed_after_a_while(tmp_path):
    cache, archive = tmp_path / "cache", str(tmp_path / "model.tar")
    for name in ("old.1-a.tmp", "young.2-b.tmp", "kept"):
        (cache / name).mkdir(parents=True)
        os.utime(cache / name, (0, 0) if name != "young.2-b.tmp" else None)
    with tarfile.open(archive, "w") as file:
        file.add(tiny(tmp_path / "model"), arcname=".")
    made = load(archive, str(cache)).path
    assert set(os.listdir(cache)) == {"young.2-b.tmp", "kept", os.path.basename(made)}


def test_an_archive_cannot_write_outside_of_the_cache(tmp_path):
    archive = tmp_path / "evil.tgz"
    with tarfile.open(archive, "w:gz") as file:
        member = tarfile.TarInfo("../../escaped")
        member.size = 4
        file.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(UserError, match=r"cannot be extracted: .*outside the destination"):
        load(str(archive), str(tmp_path / "a" / "cache"))
    assert not (tmp_path / "escaped").exists()
    assert not (tmp_path / "a" / "escaped").exists()
    assert os.listdir(tmp_path / "a" / "cache") == []


@pytest.mark.parametrize("damage", ["truncated", "text"])
def test_a_damaged_archive_is_refused(tmp_path, damage):
    directory, archive = tiny(tmp_path / "model"), tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(directory, arcname=".")
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"not a tar")
    with pytest.raises(UserError, match=r"model\.tar\.gz: cannot be extracted"):
        load(str(archive), str(tmp_path / "cache"))
    assert os.listdir(tmp_path / "cache") == []


def test_an_address_without_a_network_is_refused_quickly(tmp_path, monkeypatch):
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    handle = "https://localhost:9/google/some_model/feature_vector/2"
    start = time.monotonic()
    with pytest.raises(UserError, match=rf"--backbone={handle}: cannot be fetched: .*refused"):
        load(handle, str(tmp_path))
    assert time.monotonic() - start < 5
    assert "TFHUB_CACHE_DIR" not in os.environ


def test_an_unwritable_cache_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"a directory that can be written to .*file/cache"):
        load("efficientnet_lite0", str(tmp_path / "file" / "cache"))


def test_what_is_not_there_or_not_a_saved_model_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"--backbone=resnet: there is no .*resnet.*A handle is"):
        load("resnet")
    (tmp_path / "model.h5").write_text("")
    with pytest.raises(UserError, match="a file that is not an archive"):
        load(str(tmp_path / "model.h5"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"is not a SavedModel.*found nothing"):
        load(str(tmp_path / "empty"))
    (tmp_path / "empty" / "saved_model.pb").write_text("damaged")
    with pytest.raises(UserError, match="cannot be loaded"):
        load(str(tmp_path / "empty"))


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


WRITE = "import sys; from trainer.models import handles; print(handles.resolve(*sys.argv[1:]))"


def start(*arguments: str, program: str = WRITE) -> subprocess.Popen:
    command = [sys.executable, "-c", program, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_a_kill_and_a_race_leave_one_whole_model(tmp_path, embedded_cache):
    with (
        start("efficientnet_lite0", str(tmp_path)) as killed,
        start("efficientnet_lite0", str(tmp_path)) as one,
        start("efficientnet_lite0", str(tmp_path)) as other,
    ):
        while not any(tmp_path.glob(f"*.{killed.pid}-*.tmp/*")):
            assert killed.poll() is None, "it was to be killed while it writes"
            time.sleep(0.001)
        killed.send_signal(signal.SIGKILL)
        paths = {process.communicate()[0].strip() for process in (one, other)}
    assert [one.returncode, other.returncode] == [0, 0]
    (abandoned,) = tmp_path.glob("*.tmp")
    (model,) = set(tmp_path.iterdir()) - {abandoned}
    assert paths == {str(model)}
    images = tf.random.stateless_uniform([1, 224, 224, 3], [1, 2])
    expected = load("efficientnet_lite0", embedded_cache)(images)
    assert np.array_equal(load(str(model))(images), expected)


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
    with start(handle, str(tmp_path / "export"), program=TWO_REPLICAS) as process:
        process.communicate()
    assert process.returncode == 0
