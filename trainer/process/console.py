"""Report a run's progress to a person or to a cluster's log collector.

Three formats carry the same messages: a progress bar on a terminal, plain lines elsewhere, and
one JSON object a line for clusters (Cloud Logging's `severity` and `message`, and the fields).
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
    """The output of a run's stages."""

    def say(self, message: str, **figures: Any) -> None:
        """Log one line."""

    def warn(self, message: str) -> None:
        """Log something that the user should act on."""

    def show(self, table: Any, **figures: Any) -> None:
        """Print `table`, one of rich's; the JSON format logs `figures` instead."""

    def advance(self, task: str, done: int, total: int, **figures: float) -> None:
        """Report that `task` is at `done` of `total`, with `figures` beside it."""

    def close(self) -> None:
        """Restore the terminal."""


def make_reporter(
    log_format: str, stream: TextIO | None = None, progress_secs: float = _PROGRESS_SECS
) -> Reporter:
    """Return the reporter for `--log_format`; `auto` checks whether `stream` is a terminal."""
    stream = sys.stdout if stream is None else stream
    if log_format == "json":
        return JsonReporter(stream, progress_secs=progress_secs)
    if log_format == "auto" and stream.isatty():
        return TerminalReporter(stream)
    return LineReporter(stream, progress_secs=progress_secs)


class WarningsOnly:
    """Forward only warnings to `reporter`: the chief reports the rest."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def say(self, message: str, **figures: Any) -> None:
        """See Reporter."""

    def warn(self, message: str) -> None:
        """See Reporter."""
        self._reporter.warn(message)

    def show(self, table: Any, **figures: Any) -> None:
        """See Reporter."""

    def advance(self, task: str, done: int, total: int, **figures: float) -> None:
        """See Reporter."""

    def close(self) -> None:
        """See Reporter."""
        self._reporter.close()


class LineReporter:
    """Writes plain lines; one every few seconds for a task in progress.

    Args:
        stream: destination.
        clock: monotonic seconds.
        progress_secs: minimum time between two progress lines.
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
        """See Reporter. 80 columns wide, without colors."""
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
    """Writes one JSON object a line for Cloud Logging:
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
        # JSON has no NaN: a collector would treat the line as plain text.
        figures = {k: v if _is_json(v) else str(v) for k, v in figures.items()}
        line = {"severity": severity, "time": now, "message": message, **figures}
        print(json.dumps(line, ensure_ascii=False), file=self._stream, flush=True)


class TerminalReporter:
    """Shows a progress bar for the current task, with log lines above it."""

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
            # Start at `done`: the speed of a resumed run excludes earlier steps.
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
    """Format for display: rates fluctuate, so they get at most one decimal."""
    return {
        name.replace("_", " "): f"{value:,.{_decimals(name, value)}f}"
        for name, value in figures.items()
    }


def _decimals(name: str, value: float) -> int:
    if abs(value) >= 100:
        return 0
    return 1 if name.endswith("_per_sec") else 4
