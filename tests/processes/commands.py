"""The program as a user runs it: real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.processes import warm

DEADLINE_SECS = 240

_OF_A_CLOCK = ("wall_secs", "examples_per_sec", "input_wait", "goodput")


def graft(
    *arguments: Any, prepare: warm.Preparation | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `graft ARGUMENTS` to its end, in a fork (see warm.py)."""
    return _ended(arguments, environment, prepare)


def script(program: str, *arguments: Any, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -c PROGRAM ARGUMENTS` to its end, in a fork (see warm.py)."""
    return _ended(arguments, environment, program=program)


def _ended(
    arguments: Sequence[Any],
    environment: Mapping[str, str],
    prepare: warm.Preparation | None = None,
    program: str = "",
) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        everything = {**os.environ, **environment}
        process = warm.Process(
            arguments, stdout, stderr, everything, prepare=prepare, program=program
        )
        try:
            code = process.wait(DEADLINE_SECS)
        finally:
            process.kill()
        texts = []
        for stream in (stdout, stderr):
            stream.seek(0)
            texts.append(stream.read().decode())
    return subprocess.CompletedProcess(process.args, code, *texts)


def python(*arguments: Any, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS` to its end, from Python's start; stdout and stderr are kept apart."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=DEADLINE_SECS,
        env={**os.environ, **environment},
    )


def start(
    *arguments: Any, prepare: warm.Preparation | None = None, **environment: str
) -> warm.Process:
    """Start `graft ARGUMENTS`, as tests/processes/warm.py does; what it says is thrown away."""
    with open(os.devnull, "w") as nowhere:
        everything = {**os.environ, **environment}
        return warm.Process(arguments, nowhere, nowhere, everything, prepare=prepare)


def metrics(workdir: Path) -> dict[str, Any]:
    """The run's `metrics.json`, without what depends on a clock."""
    content = json.loads((workdir / "metrics.json").read_text())
    return {k: v for k, v in content.items() if k not in _OF_A_CLOCK}


def refused(process: subprocess.CompletedProcess[str], *words: str) -> None:
    """Assert exit code 2 and one message, without a traceback, that holds all `words`."""
    assert process.returncode == 2, process.stderr
    assert "Traceback" not in process.stderr
    lines = [line for line in process.stderr.splitlines() if line.startswith("graft: ")]
    assert len(lines) == 1, process.stderr
    for word in words:
        assert word in process.stderr, process.stderr
