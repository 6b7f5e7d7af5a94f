"""What a rehearsal does to a run and reads from its workers, with lines and a clock."""

import json
import os
from typing import Any

import pytest

from trainer.launch.local.disturbance import (
    SIGNALS,
    Disturbance,
    Observer,
    TimeOut,
    Workdir,
)


def test_a_workdir_that_is_gone_is_there_again_as_it_was(tmp_path):
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / "kept").write_text("content")
    workdir = Workdir(str(directory))
    assert workdir.reconnect() is False
    workdir.disconnect()
    with pytest.raises(NotADirectoryError):  # for root, too
        (directory / "new").write_text("lost")
    with pytest.raises(FileExistsError):
        os.makedirs(directory, exist_ok=True)
    assert workdir.reconnect() is True
    assert workdir.reconnect() is False
    assert os.listdir(tmp_path) == ["run"]
    assert (directory / "kept").read_text() == "content"


class WorkerGroup:
    """Stands for the processes: notes the signals."""

    def __init__(self):
        self.left = [0, 1]
        self.signals = []

    def send_signal(self, number, only):
        self.signals.append((number, only))


class Story:
    """An observer that is told lines, and the workers that it may disturb."""

    def __init__(self, disturbance):
        self.now = 100.0
        self.workers: Any = WorkerGroup()  # in the place of a gang of real ones
        self.times_gone = 0
        self.observer = Observer(disturbance, 50.0, lambda: self.now, self.disconnect)

    def disconnect(self):
        self.times_gone += 1

    def says(self, worker, message, **figures):
        line = message if worker is None else json.dumps({"message": message, **figures})
        self.observer.read_line(worker, line)
        self.observer.watch(self.workers)

    def trains(self, *steps):
        for step in steps:
            self.says(0, f"training {step}/60", done=step, total=60)


def test_a_kill_is_seen_from_the_signal_to_the_next_step():
    story = Story(Disturbance("kill", 1, 10))
    story.says(None, "starting 2 workers")
    story.trains(1, 6, 9)
    assert story.workers.signals == []
    story.trains(12)
    assert story.workers.signals == [(SIGNALS["kill"], 1)]
    story.now += 1
    story.trains(14)  # was on its way
    story.says(None, "starting 2 workers")
    story.now += 20
    story.says(0, "resuming   after step 12 of 60", resumed_step=12)
    story.now += 2.5
    story.trains(13, 15, 60)
    observer = story.observer
    assert (observer.disturbed_step, observer.step) == (14, 60)
    assert (observer.secs_until_training, observer.steps_done_twice) == (23.5, 2)
    assert story.workers.signals == [(SIGNALS["kill"], 1)]


def test_a_run_without_a_checkpoint_does_all_steps_twice():
    story = Story(Disturbance("freeze", 0, 3))
    story.says(None, "starting 2 workers")
    story.trains(5)
    story.says(None, "starting 2 workers")
    story.trains(1)
    assert story.observer.steps_done_twice == 5


def test_a_workdir_is_taken_away_once():
    story = Story(Disturbance("storage", None, 10))
    story.says(None, "starting 2 workers")
    story.trains(12, 14)  # until something is written
    story.says(None, "starting 2 workers")
    story.now += 5
    story.says(0, "resuming   after step 12 of 60", resumed_step=12)
    story.trains(13, 60)
    assert story.times_gone == 1
    assert story.workers.signals == []
    assert (story.observer.secs_until_training, story.observer.steps_done_twice) == (5, 2)


def test_a_run_that_is_over_was_not_disturbed():
    story = Story(Disturbance("kill", 1, 10))
    story.workers.left = [0]
    story.trains(60)
    assert story.workers.signals == []
    assert story.observer.disturbed_step is None


def test_a_run_that_takes_too_long_is_ended():
    story = Story(None)
    story.now += 50
    story.trains(2)
    story.now += 1
    with pytest.raises(TimeOut, match="not over in time, after step 3"):
        story.trains(3)


def test_the_last_lines_are_kept_without_the_steps():
    story = Story(None)
    story.says(None, "starting 2 workers")
    story.trains(1, 2)
    story.says(1, "data")
    story.observer.read_line(1, "graft: no JSON")
    assert list(story.observer.lines) == [
        "launch │ starting 2 workers",
        "1 │ data",
        "1 │ graft: no JSON",
    ]
