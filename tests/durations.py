"""What the suite says of itself in the end: minutes, processes, and the seeds of a storm."""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

LIMITS_MINS = {"quick": 1.5, "test": 15.0}
NUM_DEAREST = 20

_started = {"warm": 0, "cold": 0}


@dataclasses.dataclass
class Story:
    """One test: what it took, and what came of it."""

    secs: float = 0.0
    setup_secs: float = 0.0
    warm_processes: int = 0
    cold_processes: int = 0
    seed: int | None = None
    outcome: str = "passed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer `--durations_json`."""
    parser.addoption("--durations_json", help="write the seconds of each test to this file")


def pytest_configure(config: pytest.Config) -> None:
    """Count the processes of this one's tests; report where no other process does."""
    sys.addaudithook(_count)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Report(config))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say with each report how many processes were started since the last one."""
    report = yield
    report.user_properties = [*report.user_properties, *_started.items()]
    _started.update(warm=0, cold=0)
    return report


class _Report:
    """Gathers the reports of all workers, and prints and writes what they come to."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._began = time.monotonic()
        self._stories: dict[str, Story] = collections.defaultdict(Story)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a test's setup, call or teardown to its story."""
        story = self._stories[report.nodeid.rpartition("@")[0] or report.nodeid]
        said: dict[str, Any] = dict(report.user_properties)
        story.secs += report.duration
        story.setup_secs += report.duration if report.when == "setup" else 0.0
        story.warm_processes += said.get("warm", 0)  # a worker that crashed says nothing
        story.cold_processes += said.get("cold", 0)
        story.seed = said.get("seed", story.seed)
        if not report.passed:
            story.outcome = report.outcome

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the minutes; of a storm, a line for each story."""
        mins = (time.monotonic() - self._began) / 60
        tier = self._config.getoption("tier")
        if path := self._config.getoption("durations_json"):
            self._write(Path(path), mins)
            _section(terminalreporter, "dearest tests", _dearest(self._stories))
            _section(terminalreporter, "dearest files", _dearest(_files(self._stories)))
        if tier == "storm":
            _section(terminalreporter, "storm", map(_storm_line, sorted(self._stories.items())))
        limit = f" of {LIMITS_MINS[tier]:g}" if tier in LIMITS_MINS else ""
        stories = self._stories.values()
        terminalreporter.write_line(
            f"tier {tier}: {mins:.1f}{limit} minutes; {len(stories)} tests, "
            f"{sum(s.warm_processes for s in stories)} warm and "
            f"{sum(s.cold_processes for s in stories)} cold processes"
        )

    def _write(self, path: Path, mins: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        tables = {"tests": self._stories, "files": _files(self._stories)}
        content = {
            name: {key: dataclasses.asdict(story) for key, story in table.items()}
            for name, table in tables.items()
        }
        path.write_text(json.dumps({"mins": round(mins, 2), **content}, indent=1))


def _files(stories: dict[str, Story]) -> dict[str, Story]:
    files: dict[str, Story] = collections.defaultdict(Story)
    for name, story in stories.items():
        file = files[name.partition("::")[0]]
        for field in ("secs", "setup_secs", "warm_processes", "cold_processes"):
            setattr(file, field, getattr(file, field) + getattr(story, field))
    return files


def _dearest(stories: dict[str, Story]) -> Iterator[str]:
    found = sorted(stories.items(), key=lambda item: -item[1].secs)[:NUM_DEAREST]
    for name, story in found:
        processes = f"{story.warm_processes:3} warm {story.cold_processes:3} cold"
        yield f"{story.secs:7.1f} s  {processes}  {name}"


def _storm_line(item: tuple[str, Story]) -> str:
    name, story = item
    seed = "" if story.seed is None else f"  GRAFT_TEST_SEED={story.seed}"
    return f"{story.outcome:<8}{story.secs:7.1f} s  {name.removeprefix('tests/storm/')}{seed}"


def _section(reporter: pytest.TerminalReporter, title: str, lines: Iterable[str]) -> None:
    reporter.section(title)
    for line in lines:
        reporter.write_line(line)


def _count(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "tests.processes.warm":
        _started["warm"] += 1
    elif event == "subprocess.Popen" and os.environ.get("PYTEST_CURRENT_TEST"):
        _started["cold"] += 1
