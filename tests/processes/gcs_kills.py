"""A process that is killed at one of its requests to a bucket."""

import signal
import subprocess
import sys

from trainer.storage import api as storage

# list, three uploads, the manifest; list, and four objects to remove
NUM_REQUESTS, MANIFEST = 10, 4
FILES = {"a.bin": b"123456789", "sub/b.txt": b"", ".hidden": b""}
OLD, NEW = "gs://bucket/run/step_1", "gs://bucket/run/step_2"

PUBLISHER = """
import sys
from pathlib import Path
from trainer.storage import api as storage
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


def assert_whole_or_nothing(gcs, scratch, number, moment):
    """Publish a new one and remove the old one, killed before or after a request is done.

    Returns:
        Whether there were so many requests.
    """
    gcs.clear()
    storage.publish(str(scratch), OLD, {})
    gcs.proxy.reset()
    command = [sys.executable, "-c", PUBLISHER, str(scratch), NEW, OLD]
    process = killed_at(gcs, number, moment, command)
    gcs.proxy.reset()
    is_killed = number < NUM_REQUESTS
    assert process.returncode == (-signal.SIGKILL if is_killed else 0)
    manifests = {d: storage.read_manifest(d) for d in (OLD, NEW)}
    for directory, manifest in manifests.items():
        assert manifest is None or storage.verify(directory, manifest) is None
    assert any(manifests.values())
    has_new = number > MANIFEST or (number == MANIFEST and moment == "after")
    assert (manifests[NEW] is not None) == has_new
    return is_killed
