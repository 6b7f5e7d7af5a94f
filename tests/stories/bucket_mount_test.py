"""A workdir on a mount where nothing but an object's put is atomic: FUSE, in gcsfuse's manner."""

import os
import subprocess
import sys
import time

import pytest

from tests.inputs import tiny
from tests.processes.commands import graft, metrics, start
from tests.processes.same_run import assert_same_weights

try:
    import mfusepy  # noqa: F401
except (ImportError, OSError):  # no libfuse on this machine
    pytest.skip("needs mfusepy and libfuse", allow_module_level=True)

pytestmark = pytest.mark.integration

NUM_STEPS = 50
# Once for each of the two files of a checkpoint when it is written; the manifest is not, by then.
AFTER_A_FILE = "trainer.storage.local:crc32c"


@pytest.fixture
def mount(tmp_path):
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("needs /dev/fuse")
    backing, point = tmp_path / "objects", tmp_path / "mount"
    backing.mkdir()
    point.mkdir()
    command = [sys.executable, "-m", "tests.servers.bucket_mount", str(backing), str(point)]
    with subprocess.Popen(command) as process:
        try:
            deadline = time.monotonic() + 20
            while not os.path.ismount(point):
                assert time.monotonic() < deadline
                if process.poll() is not None:
                    pytest.skip("may not mount here")
                time.sleep(0.02)
            yield point
        finally:
            process.terminate()  # unmounts
            process.wait(20)


def test_a_run_on_a_mounted_bucket_is_killed_and_ends_as_a_local_one(mount, tmp_path, gates, rng):
    words = [
        "train",
        f"--dataset={tiny.write_folder(tmp_path / 'folder', train=30, validation=4)}",
        f"--backbone={tiny.write_backbone(tmp_path / 'backbone')}",
        "--nofreeze_backbone",
        "--global_batch_size=16",
        f"--num_steps={NUM_STEPS}",
        "--checkpoint_every_steps=10",
        "--eval_every_epochs=5",
        "--nolog_images",
    ]
    local = tmp_path / "local"
    assert graft(*words, f"--workdir={local}").returncode == 0
    gate = gates(AFTER_A_FILE, 2 * rng.randrange(2, 5))
    process = start(*words, f"--workdir={mount / 'run'}", prepare=gate)
    try:
        gate.wait(process)
    finally:
        process.kill()
        process.wait()
    names = sorted(path.name for path in (mount / "run/checkpoints").iterdir())
    assert [(mount / "run/checkpoints" / name / "MANIFEST.json").exists() for name in names] == [
        *([True] * (len(names) - 1)),
        False,
    ]
    assert not (mount / "run/metrics.json").exists()
    again = graft(*words, f"--workdir={mount / 'run'}")
    assert again.returncode == 0, again.stderr
    assert "resuming   after step " in again.stdout
    assert metrics(mount / "run") == metrics(local)
    assert_same_weights(mount / "run", local, NUM_STEPS)
    assert (mount / "run/export/saved_model.pb").exists()
    said = (tmp_path / "objects.log").read_text().splitlines()
    renamed = [line.split()[2] for line in said if line.startswith("rename ")]
    assert not [path for path in renamed if "variables" in path]  # data are never renamed
