"""A process that is killed at any of its requests to a bucket leaves the whole or nothing."""

import signal
import subprocess
import sys

import pytest

from tests import tiny
from trainer import storage

PUBLISHER = """
import sys
from pathlib import Path
from trainer import storage
storage.publish(sys.argv[1], sys.argv[2], {})
storage.remove(sys.argv[3])
"""


def killed_at(gcs, number, moment, command):
    """Run `command`, and kill it when its request `number` comes, before or after it is done."""

    def plan(request):
        if "/o" not in request.target or gcs.proxy.count(matching="/o") <= number:
            return None
        process.kill()
        process.wait()
        return "lost" if moment == "after" else "reset"

    gcs.proxy.plan = plan
    with subprocess.Popen(command) as process:
        process.wait(60)
    return process


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_at_any_request_leaves_the_whole_or_nothing(gcs, tmp_path, moment):
    """Publish a new one and remove the old one, killed before or after each request is done."""
    files = {"a.bin": b"123456789", "sub/b.txt": b"", ".hidden": b""}
    scratch = tiny.write_files(tmp_path / "scratch", files)
    old, new = "gs://bucket/run/step_1", "gs://bucket/run/step_2"
    num_killed = num_new = 0
    for number in range(20):
        gcs.clear()
        storage.publish(str(scratch), old, {})
        gcs.proxy.reset()
        process = killed_at(
            gcs, number, moment, [sys.executable, "-c", PUBLISHER, str(scratch), new, old]
        )
        gcs.proxy.reset()
        num_killed += process.returncode == -signal.SIGKILL
        manifests = {d: storage.read_manifest(d) for d in (old, new)}
        for directory, manifest in manifests.items():
            assert manifest is None or storage.damage(directory, manifest) is None
        assert any(manifests.values())
        num_new += manifests[new] is not None
        if process.returncode == 0:
            break
    assert process.returncode == 0  # the last one had fewer requests than `number`
    # list, three uploads, the manifest; list, and four objects to remove
    assert num_killed == 10
    assert num_new == (6 if moment == "before" else 7)
