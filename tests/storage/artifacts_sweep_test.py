"""What killed creators of artifacts leave, and which directories the sweep by age removes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.inputs import tiny
from tests.storage.artifacts_test import NAME, made, names
from trainer.storage import artifacts

HOUR, DAY = 3600.0, 86_400.0


def age(path, secs):
    written = os.stat(path).st_mtime - secs
    os.utime(path, (written, written))


KILLED = """
import os, pathlib, signal, sys
from trainer.storage import artifacts
def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)
def make(directory):
    pathlib.Path(directory, "a.bin").write_bytes(b"1234")
    return sys.argv[2] == "files" and kill()
os.rename = kill
artifacts.get_or_create(sys.argv[1], "model-12ab", make)
"""


@pytest.mark.integration
@pytest.mark.parametrize("moment", ["files", "rename"])
def test_a_kill_leaves_nothing_that_counts_and_that_goes_after_an_hour(moment, tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), moment])
    assert killed.returncode == -signal.SIGKILL
    left, *lock = names(tmp_path)
    assert left.startswith(".graft-")
    assert lock == ([f"{NAME}.lock"] if moment == "rename" else [])
    inside = {path.name for path in (tmp_path / left / NAME).iterdir()}
    assert inside == {"a.bin"} | ({"MANIFEST.json"} if moment == "rename" else set())
    path, _ = made(tmp_path)
    assert Path(path, "a.bin").read_bytes() == b"123456789"
    assert names(tmp_path) == [left, NAME]
    age(tmp_path / left, HOUR + 1)
    made(tmp_path, "other-1")
    assert names(tmp_path) == [NAME, "other-1"]


def test_what_a_live_process_makes_is_not_swept_nor_is_what_is_not_ours(tmp_path):
    foreign = [".graft-mine", ".graft-" + "0" * 31, "graft-" + "0" * 32, "a.tmp"]
    for name in foreign:
        tiny.write_files(tmp_path / name, {"diary.txt": b"dear diary"})
    with artifacts.scratch(f"{tmp_path}/slow", "slow", HOUR) as slow:
        Path(slow, "half").touch()
        for path in tmp_path.iterdir():
            age(path, 30 * DAY)
        time_of_scratch = os.stat(os.path.dirname(slow)).st_mtime
        made(tmp_path, unused_secs=DAY)
        assert Path(slow, "half").exists()
        assert time_of_scratch < time.time() - 29 * DAY
        artifacts.move(slow, str(tmp_path / "slow"))
    assert names(tmp_path) == sorted([*foreign, "slow", NAME])
    assert [(tmp_path / name / "diary.txt").read_bytes() for name in foreign] == [b"dear diary"] * 4


@pytest.mark.parametrize(("secs", "stays"), [(HOUR - 60, True), (HOUR + 60, False)])
def test_the_clock_is_that_of_the_files(secs, stays, tmp_path, monkeypatch):
    left = tmp_path / f".graft-{'0' * 32}"
    left.mkdir()
    age(left, secs)
    monkeypatch.setattr("time.time", lambda: 0.0)
    made(tmp_path)
    assert left.exists() is stays


def test_what_is_not_used_for_so_long_goes_and_what_is_used_stays(tmp_path):
    ages = {"kind-read": 31, "kind-old": 31, "kind-young": 29, "other-old": 31}
    for name, days in ages.items():
        age(made(tmp_path, name)[0], days * DAY)
    (tmp_path / "kind-old.txt").touch()
    age(tmp_path / "kind-old.txt", 31 * DAY)
    made(tmp_path, "kind-read", make=None)  # which is a use
    made(tmp_path, "kind-new")
    assert names(tmp_path) == sorted([*ages, "kind-old.txt", "kind-new"])
    made(tmp_path, "kind-newer", unused_secs=30 * DAY)
    left = ages.keys() - {"kind-old"} | {"kind-old.txt", "kind-new", "kind-newer"}
    assert names(tmp_path) == sorted(left)
