"""What forks from the warm process is, to a test, the program that a user starts."""

import json
import os
import signal

import pytest

from tests.processes.commands import graft, python, script, start

pytestmark = pytest.mark.integration

FACTS = """
import json, os, signal, sys, threading
from tensorflow.python.eager import context
print(json.dumps({
    "argv": sys.argv,
    "directory": os.getcwd(),
    "variable": os.environ["GRAFT_VARIABLE"],
    "ctrl_c": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    "main": threading.current_thread() is threading.main_thread(),
    "cores": sorted(os.sched_getaffinity(0)),
    "executed": context.context()._initialized,
}))
"""


@pytest.mark.parametrize(
    ("words", "code"),
    [(["--version"], 0), (["train", "--workdir="], 2), (["trian"], 2), (["--help"], 0)],
)
def test_streams_and_exit_codes_are_those_of_a_process_of_its_own(words, code):
    warm, own = graft(*words), python("-m", "trainer", *words)
    assert (warm.returncode, warm.stdout, warm.stderr) == (code, own.stdout, own.stderr)
    assert own.returncode == code


def test_it_has_the_callers_directory_and_environment_and_has_executed_nothing(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    process = script(FACTS, "--one", 2, GRAFT_VARIABLE="größe")
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout) == {
        "argv": ["-c", "--one", "2"],
        "directory": str(tmp_path),
        "variable": "größe",
        "ctrl_c": True,
        "main": True,
        "cores": sorted(os.sched_getaffinity(0)),
        "executed": False,
    }
    assert "GRAFT_VARIABLE" not in os.environ


def test_a_signal_ends_it_with_the_signals_code(gates):
    gate = gates("trainer.task:_train", 1)
    process = start("train", "--workdir=x", prepare=gate)
    gate.wait(process)
    process.kill()
    assert process.wait(60) == -signal.SIGKILL


def test_what_is_read_at_start_up_needs_a_process_of_its_own():
    with pytest.raises(AssertionError, match=r"LC_ALL: read at start-up; use commands\.python"):
        graft("--version", LC_ALL="C")
