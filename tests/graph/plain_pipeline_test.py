"""What TensorFlow optimizes in a run, by its own log: the steps, and nothing of the pipelines."""

import os
import re
import subprocess
import sys

import pytest

from tests.inputs import tiny

pytestmark = pytest.mark.integration

# Read as TensorFlow starts: the processes here are started from nothing.
LOG = {"TF_CPP_MIN_LOG_LEVEL": "0", "TF_CPP_VMODULE": "meta_optimizer=1"}
# One line for each graph that the optimizer is given.
ASKED = re.compile(r"Starting optimization for grappler item: (\S+)")


@pytest.fixture
def optimized(tmp_path):
    def run(*flags):
        folder = tiny.write_folder(tmp_path / "folder", train=64, validation=16)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "trainer", "train"),
                f"--dataset={folder}",
                f"--backbone={tiny.write_backbone(tmp_path / 'backbone')}",
                f"--workdir={tmp_path / 'run'}",
                f"--cache_dir={tmp_path / 'cache'}",
                "--num_epochs=1",
                "--noreport",
                *flags,
            ],
            env=os.environ | LOG,
            capture_output=True,
            text=True,
            check=True,
        )
        return ASKED.findall(done.stderr)

    return run


@pytest.mark.parametrize(
    "flags", [(), ("--feature_cache=off", "--augment=light", "--export_formats=")]
)
def test_the_steps_are_optimized_and_the_pipelines_are_not(optimized, flags):
    graphs = optimized(*flags)
    assert any("many_steps" in graph for graph in graphs)
    assert [graph for graph in graphs if "Dataset" in graph] == []


SEARCHED = """
import sys
import tensorflow as tf
from trainer.graph.plain_pipeline import skip_determinism_check, skip_autotune
tf.config.experimental.enable_op_determinism()
def numbers():
    return [int(x) for x in skip_autotune(tf.data.Dataset.range(4).map(lambda x: 2 * x, 2))]
with skip_determinism_check():
    print(numbers(), file=sys.stderr)
print("outside", numbers(), file=sys.stderr)
try:
    tf.random.uniform([])  # which op determinism refuses without a seed
except RuntimeError:
    print("refused", file=sys.stderr)
"""


def test_only_within_is_a_data_set_not_searched():
    done = subprocess.run(
        [sys.executable, "-c", SEARCHED],
        env=os.environ | LOG,
        capture_output=True,
        text=True,
        check=True,
    )
    within, _, outside = done.stderr.partition("[0, 2, 4, 6]\n")
    assert "tf_data_meta_optimizer" not in within
    assert "tf_data_meta_optimizer" in outside
    assert outside.endswith("outside [0, 2, 4, 6]\nrefused\n")
