import datetime
import io
import json
import os
import pty
import subprocess
import sys
from typing import Any

import pytest

from trainer.process.console import (
    JsonReporter,
    LineReporter,
    TerminalReporter,
    WarningsOnly,
    make_reporter,
)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def talk(reporter, clock):
    reporter.say("data       3 images", num=3)
    reporter.warn("careful")
    for step, now in ((1, 0.0), (2, 9.9), (3, 10.0), (4, 10.1), (2000, 10.2)):
        clock.now = now
        reporter.advance("training", step, 2000, loss=1.23456, images_per_sec=123.6)
    reporter.close()


def test_lines():
    stream, clock = io.StringIO(), Clock()
    talk(LineReporter(stream, clock), clock)
    assert stream.getvalue().splitlines() == [
        "data       3 images",
        "warning: careful",
        "training 1/2,000  loss 1.2346  images per sec 124",
        "training 3/2,000  loss 1.2346  images per sec 124",
        "training 2,000/2,000  loss 1.2346  images per sec 124",
    ]


def test_figures_as_they_are_read():
    stream = io.StringIO()
    LineReporter(stream).advance("training", 1, 1, loss=123.4, images_per_sec=64.123, accuracy=1.0)
    LineReporter(stream).advance("training", 1, 1, images_per_sec=12882.4)
    assert stream.getvalue().splitlines() == [
        "training 1/1  loss 123  images per sec 64.1  accuracy 1.0000",
        "training 1/1  images per sec 12,882",
    ]


def test_json_lines():
    stream, clock = io.StringIO(), Clock()
    before = datetime.datetime.now(datetime.timezone.utc)
    talk(JsonReporter(stream, clock), clock)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    for line in lines:
        time = datetime.datetime.fromisoformat(line.pop("time"))
        assert abs(time - before) < datetime.timedelta(minutes=1)
    progress = {"loss": 1.23456, "images_per_sec": 123.6, "total": 2000, "severity": "INFO"}
    assert lines == [
        {"severity": "INFO", "message": "data       3 images", "num": 3},
        {"severity": "WARNING", "message": "careful"},
        {**progress, "message": "training 1/2000", "done": 1},
        {**progress, "message": "training 3/2000", "done": 3},
        {**progress, "message": "training 2000/2000", "done": 2000},
    ]


@pytest.mark.parametrize(("secs", "shown"), [(0.0, 5), (0.1, 4), (1000.0, 2)])
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_lines_of_progress_come_as_often_as_asked(log_format, secs, shown):
    stream, clock = io.StringIO(), Clock()
    kind: Any = type(make_reporter(log_format, stream))
    reporter = kind(stream, clock, secs)
    talk(reporter, clock)
    assert stream.getvalue().count("training ") == shown
    made: Any = make_reporter(log_format, stream, secs)
    assert reporter._progress_secs == made._progress_secs


def test_json_stays_json():
    def refuse(constant):
        raise ValueError(constant)

    stream = io.StringIO()
    JsonReporter(stream).say("größe\nzwei", loss=float("nan"), rate=float("-inf"))
    (line,) = stream.getvalue().splitlines()
    fields = json.loads(line, parse_constant=refuse)
    assert (fields["message"], fields["loss"], fields["rate"]) == ("größe\nzwei", "nan", "-inf")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("log_format", "stream", "kind"),
    [
        ("auto", io.StringIO(), LineReporter),
        ("auto", Terminal(), TerminalReporter),
        ("text", Terminal(), LineReporter),
        ("json", Terminal(), JsonReporter),
        ("json", io.StringIO(), JsonReporter),
    ],
)
def test_choice(log_format, stream, kind):
    assert type(make_reporter(log_format, stream)) is kind


def test_the_stream_is_todays_stdout(capsys):
    make_reporter("text").say("here")
    assert capsys.readouterr().out == "here\n"


TALKER = """
from trainer.process.console import make_reporter
reporter = make_reporter("auto")
reporter.say("saved to run[red]/:smile:/x")
for step in range(1, 41):
    reporter.advance("drawing", step, 40)
for step in (5, 6):
    reporter.advance("training", step, 40, loss=0.5)
reporter.warn("one image is bad")
reporter.advance("training", 7, 40, loss=0.25)
reporter.close()
reporter.close()
reporter.say("done")
"""


def screen(output, width=80):
    """What a terminal shows after `output`: as much of ECMA-48 as a progress bar needs."""
    lines, row, column, i = [""], 0, 0, 0
    hidden = False
    while i < len(output):
        char = output[i]
        i += 1
        if char == "\x1b":
            assert output[i] == "["
            end = next(k for k in range(i + 1, len(output)) if output[k].isalpha())
            argument, command, i = output[i + 1 : end], output[end], end + 1
            if command == "A":
                row -= int(argument or 1)
            elif command == "K":
                assert argument == "2"
                lines[row] = ""
            elif argument == "?25":
                hidden = command == "l"
            else:
                assert command == "m", (argument, command)
        elif char == "\r":
            column = 0
        elif char == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        else:
            lines[row] = lines[row][:column].ljust(column) + char + lines[row][column + 1 :]
            column += 1
    assert not hidden, "the cursor was left hidden"
    return [line.rstrip() for line in lines]


@pytest.mark.integration
def test_a_terminal_is_left_clean():
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        environment.pop(name, None)
    process: Any
    with subprocess.Popen(
        [sys.executable, "-c", TALKER], stdout=theirs, stderr=subprocess.PIPE, env=environment
    ) as process:
        os.close(theirs)
        output = b""
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
            output += chunk
        assert process.stderr.read() == b""
    os.close(ours)
    assert process.returncode == 0
    text = output.decode()
    assert "drawing" in text
    assert "7/40" in text
    assert "loss 0.2500" in text
    left = screen(text)
    expected = ["saved to run[red]/:smile:/x", "warning: one image is bad", "done"]
    assert [line for line in left if line] == expected


def test_of_all_but_the_chief_the_warnings_are_heard():
    stream = io.StringIO()
    reporter = WarningsOnly(LineReporter(stream))
    reporter.say("epoch 1", accuracy=0.5)
    reporter.advance("training", 5, 5)
    reporter.warn("a file is broken")
    reporter.close()
    assert stream.getvalue() == "warning: a file is broken\n"
