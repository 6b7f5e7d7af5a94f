"""The ledger of wall time, with a clock that the test moves."""

import contextlib
import json

import pytest

from trainer.workdir.goodput import CATEGORIES, Ledger

FIRST = 1_700_000_000.25  # no round number of seconds


class Workdir:
    """A clock, and the content of the ledger's file."""

    def __init__(self):
        self.now = FIRST
        self.content = b""

    def start(self, began=None):
        """The ledger of a new process."""
        return Ledger(lambda: self.now, began, self.content, self.publish)

    def publish(self, content):
        self.content = content

    @property
    def lines(self):
        return [json.loads(line) for line in self.content.splitlines()]


@pytest.fixture
def workdir():
    return Workdir()


def spend(workdir, ledger, category, secs):
    with ledger.phase(category):
        workdir.now += secs


def secs_of(ledger):
    """What is not zero; asserts that every category is named."""
    secs = ledger.summary()["secs"]
    assert tuple(secs) == CATEGORIES
    return {name: value for name, value in secs.items() if value}


def test_each_second_is_in_one_category(workdir):
    workdir.now += 3
    ledger = workdir.start(began=FIRST)
    spend(workdir, ledger, "preflight", 2)
    workdir.now += 1
    with ledger.phase("export"):
        workdir.now += 4
        spend(workdir, ledger, "evaluation", 8)
        workdir.now += 0.5
    ledger.start_phase("step")
    workdir.now += 1.5
    expected = {"startup": 4, "preflight": 2, "export": 4.5, "evaluation": 8, "step": 1.5}
    assert secs_of(ledger) == expected
    assert ledger.summary()["wall_secs"] == workdir.now - FIRST == 20
    assert ledger.summary()["in_steps"] == ledger.fraction() == 0.075


def test_an_error_within_ends_what_it_was_spent_on(workdir):
    ledger = workdir.start()
    with contextlib.suppress(KeyError), ledger.phase("evaluation"):
        workdir.now += 1
        raise KeyError
    workdir.now += 2
    assert secs_of(ledger) == {"evaluation": 1, "startup": 2}


def test_waiting_for_batches_is_no_step(workdir):
    ledger = workdir.start()
    spend(workdir, ledger, "step", 10)
    ledger.add_steps(20, 20, 10.0, 2.5)
    assert secs_of(ledger) == {"step": 7.5, "input_wait": 2.5}
    ledger.add_steps(40, 20, 10.0, 99.0)  # never more than there is
    assert secs_of(ledger) == {"input_wait": 10}


def test_a_killed_process_is_down_from_its_last_word_and_its_steps_are_lost_work(workdir):
    first = workdir.start()
    workdir.now += 5
    first.start_phase("step")
    workdir.now += 10
    first.add_steps(100, 100, 10.0, 0.0)
    first.write()  # a checkpoint of step 100
    workdir.now += 4
    first.add_steps(140, 40, 4.0, 0.0)
    first.write()  # no checkpoint
    workdir.now += 1.5  # killed somewhere here
    workdir.now += 7

    second = workdir.start()
    workdir.now += 6
    second.start_phase("step")  # resumed after step 100
    workdir.now += 2
    second.add_steps(120, 20, 2.0, 1.0)
    assert secs_of(second) == {"startup": 11, "step": 14, "lost_work": 2, "down": 8.5}
    workdir.now += 4
    second.add_steps(160, 40, 4.0, 1.0)  # half of them for the first time
    assert secs_of(second) == {
        "startup": 11,
        "step": 15.5,
        "input_wait": 0.5,
        "lost_work": 4,
        "down": 8.5,
    }
    assert second.summary()["wall_secs"] == workdir.now - FIRST == 39.5
    second.write()
    assert [line["step"] for line in workdir.lines] == [140, 160]
    assert [sum(line["secs"].values()) for line in workdir.lines] == [19, 20.5]
    assert workdir.lines[1]["secs"]["down"] == 8.5


def test_it_adds_up_over_any_number_of_restarts(workdir):
    for number in range(1, 30):
        workdir.now += 0.123457 * number
        ledger = workdir.start()
        for category in CATEGORIES[:-1]:
            spend(workdir, ledger, category, 0.000001 * number)
        ledger.add_steps(number, number, 0.0001, 0.00003)
        ledger.write()
        workdir.now += 0.333333
        first = round((workdir.lines[0]["began"]) * 1e6)
        secs = ledger.summary()["secs"].values()
        assert sum(round(value * 1e6) for value in secs) == round(workdir.now * 1e6) - first
    assert len(workdir.lines) == 29


def test_a_clock_that_went_back_between_processes_goes_on_from_where_it_was(workdir):
    first = workdir.start()
    workdir.now += 100
    first.write()
    workdir.now -= 60  # another machine
    second = workdir.start()
    workdir.now += 3
    assert secs_of(second) == {"startup": 103}
    second.write()
    assert workdir.lines[1]["began"] == FIRST + 100


@pytest.mark.parametrize(
    "broken", [b"{", b"[]", b'{"began": 0, "until": NaN, "step": 0, "secs": {}}', b"\xff\x00", b""]
)
def test_a_line_that_cannot_be_read_was_down(workdir, broken):
    for _ in range(3):
        ledger = workdir.start()
        spend(workdir, ledger, "step", 2)
        ledger.write()
    lines = workdir.content.splitlines()
    workdir.content = b"\n".join([lines[0], broken, lines[2]])
    ledger = workdir.start()
    assert secs_of(ledger) == {"step": 4, "down": 2}
    assert ledger.summary()["wall_secs"] == workdir.now - FIRST


def test_it_is_written_every_few_seconds(workdir):
    ledger = workdir.start()
    workdir.now += 4.75
    ledger.write_if_due()
    assert workdir.content == b""
    workdir.now += 0.25
    ledger.write_if_due()
    assert workdir.lines == [
        {"began": FIRST, "until": FIRST + 5, "step": 0, "secs": {"startup": 5.0}}
    ]
    workdir.now += 4
    ledger.write_if_due()
    assert workdir.lines[0]["until"] == FIRST + 5


def test_the_line_on_the_console(workdir):
    ledger = workdir.start()
    for category, secs in (("startup", 10.2), ("step", 29.7), ("input_wait", 7.9), ("down", 0.2)):
        spend(workdir, ledger, category, secs)
    assert ledger.describe() == "62% of 48 s in steps; startup 21%, input wait 16%"
