import subprocess
import sys

import pytest

from trainer.process.file_lock import locked

pytestmark = pytest.mark.integration

HOLDER = """
import sys
from trainer.process.file_lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
print("released", flush=True)
"""


def hold(path):
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def is_free(path):
    """Whether a third process gets the lock at once."""
    program = (
        "import fcntl, sys\n"
        "with open(sys.argv[1]) as f: fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)"
    )
    return not subprocess.run(
        [sys.executable, "-c", program, str(path)], stderr=subprocess.DEVNULL
    ).returncode


def test_one_process_at_a_time(tmp_path):
    path = tmp_path / "new" / "lock"
    with hold(path) as first:
        assert first.stdout.readline() == "held\n"
        assert not is_free(path)
        with hold(path) as second:
            first.stdin.write("\n")
            first.stdin.flush()
            assert first.stdout.readline() == "released\n"
            assert second.stdout.readline() == "held\n"
            assert not is_free(path)
            second.communicate("\n")
    assert is_free(path)


def test_the_dead_hold_nothing(tmp_path):
    path = tmp_path / "lock"
    with hold(path) as process:
        assert process.stdout.readline() == "held\n"
        process.kill()
        process.wait()
        with locked(str(path)):
            assert not is_free(path)
    assert is_free(path)


def test_an_error_lets_go(tmp_path):
    path = tmp_path / "lock"
    with pytest.raises(ZeroDivisionError), locked(str(path)):
        raise ZeroDivisionError
    assert is_free(path)


def test_a_bare_file_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with locked("lock"):
        assert not is_free(tmp_path / "lock")


COUNTER = """
import sys, time
from trainer.process.file_lock import locked
directory, times = sys.argv[1], int(sys.argv[2])
for _ in range(times):
    with locked(f"{directory}/lock", is_kept=False):
        with open(f"{directory}/count") as stream:
            count = int(stream.read())
        time.sleep(0.001)
        with open(f"{directory}/count", "w") as stream:
            stream.write(str(count + 1))
"""


def test_a_lock_that_is_taken_away_is_still_one_process_at_a_time(tmp_path):
    (tmp_path / "count").write_text("0")
    command = [sys.executable, "-c", COUNTER, str(tmp_path), "100"]
    processes = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert (tmp_path / "count").read_text() == "400"
    assert not (tmp_path / "lock").exists()


def test_a_lock_that_another_holds_by_now_stays(tmp_path):
    path = tmp_path / "run" / "lock"
    first = locked(str(path), is_kept=False)
    first.__enter__()
    path.unlink()
    with hold(path) as second:
        assert second.stdout.readline() == "held\n"
        first.__exit__(None, None, None)
        assert not is_free(path)
        second.communicate("\n")


def test_a_lock_that_is_gone_already(tmp_path):
    with locked(str(tmp_path / "new" / "lock"), is_kept=False):
        (tmp_path / "new" / "lock").unlink()
