"""Runs that are killed, at moments that a generator chooses, until one comes to its end."""

from __future__ import annotations

import random
import re
import signal
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.processes.commands import graft, start
from tests.processes.gates import Gate
from tests.processes.same_run import DEADLINE_SECS

SAVES = "trainer.engine.checkpoints:Checkpoints.save"


def killed_at_gates(
    functions: Sequence[str], words: Sequence[str], workdir: Path, rng: random.Random
) -> Path:
    """Train in `workdir`, killed once as it calls each of `functions` for some time of many."""
    for function in functions:
        # By the fourth time there is something to resume from.
        with tempfile.TemporaryDirectory() as directory:
            gate = Gate(Path(directory), function, rng.randrange(4, 9))
            print(f"killed at {gate.function} {gate.number}")
            process = start(*words, f"--workdir={workdir}", prepare=gate)
            gate.wait(process)
            process.kill()
            assert process.wait(DEADLINE_SECS) == -signal.SIGKILL
    return ended(words, workdir, is_resumed=True)


def killed_at_moments(
    moments: Iterable[tuple[str, float]], words: Sequence[str], workdir: Path, rng: random.Random
) -> Path:
    """Train in `workdir`, killed when so many steps were saved, or so many seconds went by."""
    for kind, moment in moments:
        process = start(*words, f"--workdir={workdir}")
        began = time.monotonic()
        while process.poll() is None:
            reached = newest_step(workdir) if kind == "step" else time.monotonic() - began
            if reached >= moment:
                break
            assert time.monotonic() - began < DEADLINE_SECS, f"no {kind} {moment}"
            time.sleep(rng.uniform(0, 0.02))
        process.kill()
        process.wait(DEADLINE_SECS)
    return ended(words, workdir, is_resumed=newest_step(workdir) > 0)


def ended(words: Sequence[str], workdir: Path, is_resumed: bool = False) -> Path:
    """`workdir`, once the run in it has come to its end."""
    last = graft(*words, f"--workdir={workdir}")
    assert last.returncode == 0, last.stderr
    if is_resumed:  # a run that began anew would come to the same
        assert re.search(r"^(resuming   after|finished   already at) step [1-9]", last.stdout, re.M)
    return workdir


def newest_step(workdir: Path) -> int:
    """Of the complete checkpoints; -1 where there is none."""
    names = [path.parent.name for path in (workdir / "checkpoints").glob("*/MANIFEST.json")]
    return max((int(name.split("_")[1]) for name in names), default=-1)
