import signal
import subprocess
import sys
from typing import Any

import pytest

from trainer.process.stop_signal import StopRequest

LOOP = """
import sys
from typing import Any
from trainer.process.stop_signal import StopRequest
stop = StopRequest()
stop.install()
print("ready", stop.requested, flush=True)
for line in sys.stdin:
    print("step", stop.requested, flush=True)
"""


@pytest.fixture
def loop():
    process: Any
    with subprocess.Popen(
        [sys.executable, "-c", LOOP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready False\n"
        yield process
        process.kill()


def step(process):
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline()


@pytest.mark.integration
def test_sigterm_is_a_flag(loop):
    assert step(loop) == "step False\n"
    loop.send_signal(signal.SIGTERM)
    assert step(loop) == "step True\n"
    assert step(loop) == "step True\n"
    loop.stdin.close()
    assert loop.wait(30) == 0


@pytest.mark.integration
def test_a_second_sigterm_ends_it(loop):
    loop.send_signal(signal.SIGTERM)
    assert step(loop) == "step True\n"
    loop.send_signal(signal.SIGTERM)
    assert loop.wait(30) == 143


@pytest.mark.integration
def test_ctrl_c_is_a_flag_and_a_second_one_ends_it(loop):
    loop.send_signal(signal.SIGINT)
    assert step(loop) == "step True\n"
    loop.send_signal(signal.SIGINT)
    assert loop.wait(30) == 130


@pytest.mark.integration
def test_a_second_sigterm_ends_what_waits_outside_of_python():
    waits = """
import ctypes
from trainer.process.stop_signal import StopRequest
StopRequest().install()
lock = ctypes.CDLL(None).pthread_mutex_lock
mutex = ctypes.create_string_buffer(64)
print("ready", flush=True)
lock(mutex), lock(mutex)
"""
    process: Any
    with subprocess.Popen([sys.executable, "-c", waits], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):  # the first one is for the loop to read
            process.wait(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143


def test_in_a_notebook_a_second_ctrl_c_is_an_exception():
    with StopRequest(owns_process=False) as stop:
        stop.install()
        signal.raise_signal(signal.SIGINT)
        assert stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_error_carries_the_exit_code_of_the_shell():
    stop = StopRequest()
    stop._on_signal(signal.SIGINT, None)
    assert stop.error("here").exit_code == 130
    assert str(stop.error("here")) == "stopped by Ctrl-C here"


def test_nothing_before_install():
    before = signal.getsignal(signal.SIGTERM)
    assert StopRequest().requested is False
    assert signal.getsignal(signal.SIGTERM) == before
