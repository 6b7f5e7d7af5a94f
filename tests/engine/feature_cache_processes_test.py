"""The feature cache on several devices, and filled by two processes at once."""

import contextlib
import json
import os
import tempfile
import time

import numpy as np
import pytest

from tests.inputs import jpegs
from tests.processes import warm
from tests.processes.commands import DEADLINE_SECS
from tests.processes.feature_caches import (
    NUM_TRAIN,
    assert_features_of,
    counts,
    open_cache,
    rows,
    said,
)

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return jpegs.write_folder(tmp_path_factory.mktemp("größe 1"), train=17, validation=3)


PROGRAM = """
import os, sys, time
import tensorflow as tf
replicas = int(sys.argv[3])
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
from tests.processes.feature_caches import counts, open_cache, rows
devices = [f"CPU:{i}" for i in range(replicas)]
cache = open_cache(sys.argv[2], sys.argv[1], strategy=tf.distribute.MirroredStrategy(devices))
if len(sys.argv) > 4:
    open(sys.argv[4] + "ready", "x").close()
    while not os.path.exists(os.path.dirname(sys.argv[4]) + "/go"):
        time.sleep(0.001)
table = cache.table("train", 0, "float32")
print(counts(cache), rows(table).tobytes().hex(), table.labels.tolist())
"""


@contextlib.contextmanager
def started(*arguments):
    """PROGRAM, and a function that waits for its end and returns what it has printed."""
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        process = warm.Process(arguments, stdout, stderr, os.environ, program=PROGRAM)

        def output():
            code = process.wait(DEADLINE_SECS)
            for stream in (stdout, stderr):
                stream.seek(0)
            assert code == 0, stderr.read()
            return stdout.read()

        try:
            yield process, output
        finally:
            process.kill()


def test_mirrored_on_two_and_three_devices_makes_the_same_table(folder, tmp_path):
    expected = open_cache(tmp_path / "1", folder).table("train", 0, "float32")
    with started(folder, tmp_path / "2", 2) as two, started(folder, tmp_path / "3", 3) as three:
        outputs = [output() for _, output in (two, three)]
    for output in outputs:
        assert output.startswith("[(0, 8)]")
        _, features, labels = output.removeprefix("[(0, 8)]").split(" ", 2)
        found = np.frombuffer(bytes.fromhex(features), np.float32).reshape(NUM_TRAIN, -1)
        np.testing.assert_allclose(found, rows(expected), atol=1e-6)
        assert json.loads(labels) == expected.labels.tolist()


def test_two_processes_that_fill_one_cache_at_once_do_no_harm(folder, tmp_path):
    root, signs = tmp_path / "cache", tmp_path / "signs"
    signs.mkdir()
    with (
        started(folder, root, 1, signs / "one-") as one,
        started(folder, root, 1, signs / "other-") as other,
    ):
        while len(list(signs.iterdir())) < 2:
            assert [process.poll() for process, _ in (one, other)] == [None, None]
            time.sleep(0.01)
        (signs / "go").touch()
        outputs = [output() for _, output in (one, other)]
    assert outputs[0].partition("]")[2] == outputs[1].partition("]")[2]
    cache = open_cache(root, folder)
    assert_features_of(cache.table("train", 0, "float32"), cache, "train")
    assert counts(cache) == [(8, 0)]
    assert [line for line in said(cache) if line["severity"] == "WARNING"] == []
