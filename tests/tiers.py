"""The three tiers of the suite: which tests run, on which worker, and in which order.

`--tier=quick` runs what starts no process and trains nothing; `--tier=test`, the default, all but
`tests/storm/`; `--tier=storm` runs that directory, as often as GRAFT_STORM_ROUNDS says.
"""

from __future__ import annotations

import collections
import os
import sys
from pathlib import Path
from typing import Any

import pytest

STORM = Path(__file__).with_name("storm")
# Whoever asks for one of these starts a process or trains, and is no quick test.
INTEGRATION_FIXTURES = {
    *("gcs", "gcs_server", "leaves_dir", "planted_run", "undisturbed"),
    *("one_worker_run", "two_worker_run"),
}
# Dear to make: the files that look at one of them share a worker.
SHARED_RUNS = ("planted_run", "undisturbed")
_STARTS = {
    *("subprocess.Popen", "tests.processes.warm", "os.exec", "os.fork", "os.forkpty"),
    *("os.posix_spawn", "os.system"),
}
# One of these at a time: each keeps several processes busy.
GANG = pytest.mark.xdist_group("gang")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer `--tier`."""
    parser.addoption("--tier", choices=["quick", "test", "storm"], default="test")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marks; forbid processes where none is to be started."""
    config.addinivalue_line("markers", "integration: starts processes or trains; not quick")
    config.addinivalue_line("markers", "storm: before a release; see tests/storm/")
    if config.getoption("tier") == "quick":
        sys.addaudithook(_refuse_processes)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Repeat a random story of the storm for each round."""
    if "storm_round" in metafunc.fixturenames:
        rounds = int(os.environ.get("GRAFT_STORM_ROUNDS", "1"))
        metafunc.parametrize("storm_round", range(1, rounds + 1))


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of the tier; a file's share a worker, and the dearest groups come first."""
    tier = config.getoption("tier")
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        if STORM in item.path.parents:
            item.add_marker(pytest.mark.storm)
        elif INTEGRATION_FIXTURES & _fixtures(item):
            item.add_marker(pytest.mark.integration)
        (kept if tier in _tiers(item) else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
    looks_at = {item.path: run for item in kept for run in SHARED_RUNS if run in _fixtures(item)}
    weight: collections.Counter[str] = collections.Counter()
    for item in kept:
        if item.get_closest_marker("xdist_group") is None:
            group = looks_at.get(item.path) or item.nodeid.partition("::")[0]
            item.add_marker(pytest.mark.xdist_group(group))
        weight[_group(item)] += 1 if _is(item, "integration") else 0
    weight["gang"] = len(items)
    items[:] = sorted(kept, key=lambda item: (-weight[_group(item)], _group(item)))


def _fixtures(item: pytest.Item) -> set[str]:
    return set(getattr(item, "fixturenames", ()))


def _tiers(item: pytest.Item) -> set[str]:
    if _is(item, "storm"):
        return {"storm"}
    return {"test"} if _is(item, "integration") else {"quick", "test"}


def _is(item: pytest.Item, mark: str) -> bool:
    return item.get_closest_marker(mark) is not None


def _group(item: pytest.Item) -> str:
    mark = item.get_closest_marker("xdist_group")
    assert mark is not None
    return str(mark.args[0])


def _refuse_processes(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _STARTS and "PYTEST_CURRENT_TEST" in os.environ:
        test = os.environ["PYTEST_CURRENT_TEST"]
        raise RuntimeError(f"{test}: starts a process; mark it with pytest.mark.integration")
