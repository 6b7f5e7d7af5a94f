"""The program as a user runs it: real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

DEADLINE_SECS = 240


_OF_A_CLOCK = ("wall_secs", "examples_per_sec", "input_wait", "goodput")


def graft(*arguments: Any, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `graft ARGUMENTS` to its end; stdout and stderr are kept apart."""
    return python("-m", "trainer", *arguments, **environment)


def python(*arguments: Any, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS` to its end; stdout and stderr are kept apart."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=DEADLINE_SECS,
        env={**os.environ, **environment},
    )


def start(*arguments: Any, **environment: str) -> subprocess.Popen[str]:
    """Start `graft ARGUMENTS`; what it says is thrown away."""
    return subprocess.Popen(
        [sys.executable, "-m", "trainer", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environment},
    )


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
