"""The launcher with real processes; the workers are stand-ins, and exit as they are told."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.processes import in_process, stand_in_worker
from tests.processes.commands import refused
from trainer.launch.local.launch import verdict

DEADLINE_SECS = 60
STAND_IN = Path(stand_in_worker.__file__)

integration = pytest.mark.integration

LAUNCHER = """
import os, sys
from trainer.launch.local import launch as local
num_workers, max_restarts, grace_secs = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
command = [sys.executable, *sys.argv[4:]]
tell = local.line_printer(num_workers)
sys.exit(local.run(command, os.environ, tell, num_workers, max_restarts, grace_secs))
"""


class Launch:
    """One launcher of stand-ins that follow `plan`."""

    def __init__(self, directory, plan, max_restarts=3, grace_secs=30.0, **environment):
        self.directory = directory
        (directory / "plan.json").write_text(json.dumps(plan))
        settings = (len(plan[0]), max_restarts, grace_secs, STAND_IN, directory)
        self.process: Any = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, *map(str, settings)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def end(self):
        """Its exit code and all it said."""
        output, _ = self.process.communicate(timeout=DEADLINE_SECS)
        return self.process.returncode, output

    def wait_for(self, line, times):
        """Read on until `line` has come so often."""
        while times:
            found = self.process.stdout.readline()
            assert found
            times -= line in found

    def starts(self, index):
        """What each start of worker `index` left behind."""
        return [json.loads(line) for line in (self.directory / str(index)).read_text().splitlines()]


@pytest.fixture
def launch(tmp_path):
    with contextlib.ExitStack() as stack:

        def start(*arguments, **options):
            launched = Launch(tmp_path, *arguments, **options)
            stack.enter_context(launched.process)
            stack.callback(launched.process.kill)
            deadline = threading.Timer(DEADLINE_SECS, launched.process.kill)
            stack.callback(deadline.cancel)
            deadline.start()
            return launched

        yield start


def is_alive(pid):
    """Whether the process still runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(pids):
    deadline = time.monotonic() + DEADLINE_SECS
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@integration
def test_lines_come_with_a_prefix(launch):
    code, output = launch([["speak", "finish"]]).end()
    assert code == 0
    assert output.splitlines() == [
        "launch │ starting 2 workers",
        "0 │ one line",
        "0 │ another",
        "0 │ an error: größe",
        "0 │ \N{REPLACEMENT CHARACTER} and no end of line",
    ]


@integration
def test_each_worker_has_its_place_and_its_share_of_the_devices(launch):
    launched = launch([["finish"] * 3], CUDA_VISIBLE_DEVICES="4,5,6,7,8,9,10")
    assert launched.end()[0] == 0
    (first,), (second,), (third,) = (launched.starts(index) for index in range(3))
    assert len(set(first["cluster"])) == 3
    assert first["cluster"] == second["cluster"] == third["cluster"]
    assert [worker["gpus"] for worker in (first, second, third)] == ["4,5", "6,7", "8,9"]
    cores = [worker["cores"] for worker in (first, second, third)]
    available = os.sched_getaffinity(0)
    assert set().union(*cores) <= available
    if len(available) >= 3:
        assert sorted(core for share in cores for core in share) == sorted(available)


@integration
@pytest.mark.parametrize(
    ("first", "code"),
    [(["exit 138", "exit 138"], 138), (["wait", "exit 143"], 143), (["die", "wait"], 137)],
)
def test_the_whole_gang_is_restarted_where_that_can_help(launch, first, code):
    launched = launch([first, ["finish", "finish"]], grace_secs=0.5)
    ended, output = launched.end()
    assert ended == 0
    assert f"launch │ left with {code}; restarting all, 1 of 3\n" in output
    for index in (0, 1):
        before, after = launched.starts(index)
        assert before["pid"] != after["pid"]
        assert before["cluster"] != after["cluster"]  # ports of the dead may linger
        assert not is_alive(before["pid"])


@integration
def test_who_does_not_leave_is_killed_before_the_restart(launch):
    launched = launch([["ignore", "exit 138"], ["finish", "finish"]], grace_secs=0.5)
    ended, output = launched.end()
    assert ended == 0
    assert "launch │ killing worker 0\n" in output
    wait_until_gone([launched.starts(0)[0][name] for name in ("pid", "child")])


@integration
def test_restarts_have_an_end(launch):
    launched = launch([["exit 138", "exit 138"]] * 3, max_restarts=2)
    ended, output = launched.end()
    assert ended == 138
    assert len(launched.starts(0)) == len(launched.starts(1)) == 3
    assert output.endswith("launch │ ended with 138\n")


@integration
@pytest.mark.parametrize("code", [1, 2])
def test_what_no_restart_can_help_ends_it(launch, code):
    launched = launch([["wait", f"exit {code}"]], grace_secs=0.3)
    assert launched.end()[0] == code
    assert len(launched.starts(1)) == 1
    wait_until_gone([launched.starts(0)[0]["pid"]])


@integration
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_passed_on_and_ends_it(launch, number, code):
    launched = launch([["wait", "wait"]])
    launched.wait_for("│ waiting", 2)
    launched.process.send_signal(number)
    assert launched.end()[0] == code
    wait_until_gone([launched.starts(index)[0]["pid"] for index in (0, 1)])


@integration
def test_a_signal_that_is_ignored_kills_after_the_grace(launch):
    launched = launch([["ignore", "wait"]], grace_secs=0.5)
    launched.wait_for("│ waiting", 2)
    launched.process.send_signal(signal.SIGTERM)
    ended, output = launched.end()
    assert ended == 143
    assert "launch │ killing worker 0\n" in output
    wait_until_gone([launched.starts(0)[0][name] for name in ("pid", "child")])


@integration
def test_a_second_signal_kills_at_once(launch):
    launched = launch([["ignore", "ignore"]], grace_secs=1000)
    launched.wait_for("│ waiting", 2)
    launched.process.send_signal(signal.SIGINT)
    launched.wait_for("passing SIGINT on", 1)
    launched.process.send_signal(signal.SIGINT)
    assert launched.end()[0] == 130
    wait_until_gone([launched.starts(i)[0][name] for i in (0, 1) for name in ("pid", "child")])


@integration
def test_no_worker_outlives_a_launcher_that_is_killed(launch):
    launched = launch([["wait", "wait"]])
    launched.wait_for("│ waiting", 2)
    pids = [launched.starts(index)[0]["pid"] for index in (0, 1)]
    assert all(map(is_alive, pids))
    launched.process.send_signal(signal.SIGKILL)
    wait_until_gone(pids)


@pytest.mark.parametrize(
    ("exits", "code"),
    [
        ({0: 0, 1: 0}, 0),
        ({1: 137, 0: 138}, 137),
        ({0: 138, 1: 1}, 1),
        ({0: 143, 1: 143}, 143),
        ({1: 0, 0: 2}, 2),
        ({1: 139, 0: 138}, 139),
        ({0: 137, 1: 134}, 137),
    ],
)
def test_verdict(exits, code):
    assert verdict(exits) == code


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--num_workers=0", "--", "--workdir=x"], ["--num_workers=0", "at least 1"]),
        (["--max_restarts=-1", "--", "--workdir=x"], ["--max_restarts=-1"]),
        (["--num_workers=2"], ["--workdir: required"]),
        (["--num_workers=2", "--workdir=x"], ["workdir"]),
        (["--num_workers=2", "--", "--workdir=x", "--seed=y"], ["--seed=y"]),
        (["--num_workers=3", "--", "--workdir=x"], ["among 3 workers", "use 2 or 4 workers"]),
    ],
)
def test_refusals_come_before_any_worker(words, parts, capsys):
    refused(in_process.graft(capsys, "launch", *words), *parts)
