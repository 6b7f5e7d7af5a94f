"""What a person, or a cluster's log collector, reads while a run goes on.

Three voices say the same things: a progress bar on a terminal, plain lines elsewhere, and one
JSON object a line for clusters (Cloud Logging's `severity` and `message`, and the figures).
"""

from __future__ import annotations

import datetime
import json
import math
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress

_PROGRESS_SECS = 10.0  # between two lines


class Reporter(Protocol):
    """What the stages of a run may say."""

    def say(self, message: str, **figures: Any) -> None:
        """One thing worth a line."""

    def warn(self, message: str) -> None:
        """One thing that the user should act on."""

    def show(self, table: Any, **figures: Any) -> None:
        """A table of rich's for those who see, `figures` for those who count."""

    def advance(self, task: str, done: int, total: int, **figures: float) -> None:
        """`task` has come to `done` of `total`; `figures` are shown beside it."""

    def close(self) -> None:
        """Leave the terminal as it was."""


def make_reporter(
    log_format: str, stream: TextIO | None = None, progress_secs: float = _PROGRESS_SECS
) -> Reporter:
    """Make the reporter for `--log_format`; `auto` asks whether `stream` (stdout) is a terminal."""
    stream = sys.stdout if stream is None else stream
    if log_format == "json":
        return JsonReporter(stream, progress_secs=progress_secs)
    if log_format == "auto" and stream.isatty():
        return TerminalReporter(stream)
    return LineReporter(stream, progress_secs=progress_secs)


class WarningsOnly:
    """Pass warnings on to `reporter`, and nothing else: the chief says the rest."""

    def __init__(self, reporter: Reporter) -> None:
        self._voice = reporter

    def say(self, message: str, **figures: Any) -> None:
        """See Reporter."""

    def warn(self, message: str) -> None:
        """See Reporter."""
        self._voice.warn(message)

    def show(self, table: Any, **figures: Any) -> None:
        """See Reporter."""

    def advance(self, task: str, done: int, total: int, **figures: float) -> None:
        """See Reporter."""

    def close(self) -> None:
        """See Reporter."""
        self._voice.close()


class LineReporter:
    """Plain lines; a task in progress gets one every few seconds.

    Args:
        stream: where to.
        clock: seconds since some fixed time.
        progress_secs: the least time between two lines of progress.
    """

    def __init__(
        self,
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
        progress_secs: float = _PROGRESS_SECS,
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._progress_secs = progress_secs
        self._last = -progress_secs

    def say(self, message: str, **figures: Any) -> None:
        """See Reporter."""
        print(message, file=self._stream, flush=True)

    def warn(self, message: str) -> None:
        """See Reporter."""
        self.say(f"warning: {message}")

    def show(self, table: Any, **figures: Any) -> None:
        """See Reporter. As wide as a terminal that nobody has changed, without colours."""
        from rich.console import Console

        plain = Console(file=self._stream, width=80, color_system=None, emoji=False)
        plain.print(table, highlight=False)
        self._stream.flush()

    def advance(self, task: str, done: int, total: int, **figures: float) -> None:
        """See Reporter."""
        now = self._clock()
        if done < total and now - self._last < self._progress_secs:
            return
        self._last = now
        shown = "".join(f"  {name} {value}" for name, value in _formatted(figures).items())
        self.say(f"{task} {done:,}/{total:,}{shown}")

    def close(self) -> None:
        """See Reporter."""


class JsonReporter:
    """One JSON object a line, as Cloud Logging reads it:
    https://cloud.google.com/logging/docs/structured-logging. Arguments as LineReporter's.
    """

    def __init__(
        self,
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
        progress_secs: float = _PROGRESS_SECS,
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._progress_secs = progress_secs
        self._last = -progress_secs

    def say(self, message: str, **figures: Any) -> None:
        """See Reporter."""
        self._write("INFO", message, figures)

    def warn(self, message: str) -> None:
        """See Reporter."""
        self._write("WARNING", message, {})

    def show(self, table: Any, **figures: Any) -> None:
        """See Reporter."""
        self._write("INFO", " ".join(figures), figures)

    def advance(self, task: str, done: int, total: int, **figures: float) -> None:
        """See Reporter."""
        now = self._clock()
        if done < total and now - self._last < self._progress_secs:
            return
        self._last = now
        self._write("INFO", f"{task} {done}/{total}", {"done": done, "total": total, **figures})

    def close(self) -> None:
        """See Reporter."""

    def _write(self, severity: str, message: str, figures: dict[str, Any]) -> None:
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        # JSON knows no NaN: a collector would take the whole line for text.
        figures = {k: v if _is_json(v) else str(v) for k, v in figures.items()}
        line = {"severity": severity, "time": now, "message": message, **figures}
        print(json.dumps(line, ensure_ascii=False), file=self._stream, flush=True)


class TerminalReporter:
    """A progress bar for the task in hand, and lines above it."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self._console = Console(file=stream, highlight=False, emoji=False)
        self._progress: Progress | None = None
        self._task: tuple[str, Any] | None = None

    def say(self, message: str, **figures: Any) -> None:
        """See Reporter."""
        self._console.print(message, markup=False, soft_wrap=True)

    def warn(self, message: str) -> None:
        """See Reporter."""
        self._console.print(f"warning: {message}", style="yellow", markup=False, soft_wrap=True)

    def show(self, table: Any, **figures: Any) -> None:
        """See Reporter."""
        self._console.print(table)

    def advance(self, task: str, done: int, total: int, **figures: float) -> None:
        """See Reporter."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        shown = "  ".join(f"{name} {value}" for name, value in _formatted(figures).items())
        if self._progress is None or self._task is None or self._task[0] != task:
            self.close()
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=28),
                TextColumn("{task.completed:.0f}/{task.total:.0f}"),
                TextColumn("{task.fields[shown]}"),
                TimeRemainingColumn(compact=True),
                console=self._console,
                transient=True,
            )
            self._progress.start()
            # Started at `done`: a resumed run's speed is not that of the run before it.
            self._task = task, self._progress.add_task(task, total=total, completed=done, shown="")
        self._progress.update(self._task[1], completed=done, total=total, shown=shown)
        if done >= total:
            self.close()

    def close(self) -> None:
        """See Reporter."""
        if self._progress is not None:
            self._progress.stop()
        self._progress = self._task = None


def _is_json(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _formatted(figures: dict[str, float]) -> dict[str, str]:
    """As they are read: a rate, which is never the same twice, with one decimal at the most."""
    return {
        name.replace("_", " "): f"{value:,.{_decimals(name, value)}f}"
        for name, value in figures.items()
    }


def _decimals(name: str, value: float) -> int:
    if abs(value) >= 100:
        return 0
    return 1 if name.endswith("_per_sec") else 4
