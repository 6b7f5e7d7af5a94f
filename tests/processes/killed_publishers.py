"""Processes that publish one directory after the other, and are killed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.inputs import tiny
from trainer.storage import api as storage

PUBLISHER = """
import sys
from trainer.storage import api as storage
step = 0
while True:
    step += 1
    storage.publish(sys.argv[1], f"{sys.argv[2]}/step_{step % 3}", {"step": step})
    if step > 2:
        storage.remove(f"{sys.argv[2]}/step_{(step + 1) % 3}")
    print(step, flush=True)
"""


def assert_whole_or_nothing(directory: Path, num_kills: int, rng: random.Random) -> None:
    """Assert that whatever is left by a kill at any moment is whole, or says that it is not."""
    files = {f"{i}/data": bytes([i]) * 50_000 for i in range(6)}
    scratch, target = tiny.write_files(directory / "scratch", files), directory / "target"
    num_whole = num_unfinished = 0
    for _ in range(num_kills):
        command = [sys.executable, "-c", PUBLISHER, str(scratch), str(target)]
        process: Any
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            for _ in range(rng.randint(1, 4)):
                process.stdout.readline()
            time.sleep(rng.uniform(0, 0.02))  # anywhere in the next one
            process.kill()
        assert process.returncode == -signal.SIGKILL
        for name in storage.list_names(str(target)):
            manifest = storage.read_manifest(str(target / name))
            num_unfinished += manifest is None
            if manifest is not None:
                num_whole += 1
                assert manifest.files.keys() == files.keys()
                assert storage.verify(str(target / name), manifest) is None
    assert num_whole > 0
    print(num_whole, "whole,", num_unfinished, "unfinished")
