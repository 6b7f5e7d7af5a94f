"""What a command shows on a terminal, as an HTML page: run in a pseudo-terminal, and drawn."""

from __future__ import annotations

import errno
import html
import os
import pty
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyte

COLUMNS, ROWS = 122, 32
_COLORS = {
    "default": "#d8dee9",
    "black": "#2e3440",
    "red": "#e06c75",
    "green": "#98c379",
    "brown": "#e5c07b",  # what terminals show for yellow
    "blue": "#61afef",
    "magenta": "#c678dd",
    "cyan": "#56b6c2",
    "white": "#eceff4",
}
_PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #1b1f27 }}
pre {{ margin: 0; padding: 16px 20px; display: inline-block; color: #d8dee9;
  font: 14px/1.35 "DejaVu Sans Mono", monospace }}
b {{ color: #98c379 }}
</style><pre><b>$</b> {command}
{lines}</pre>"""


def played(
    command: list[str], shown: str, wanted: Mapping[str, Callable[[str], bool]], **where: Any
) -> dict[str, str]:
    """A page for each name of `wanted`: the last screen of a run of `command` that is meant.

    Args:
        command: run to its end.
        shown: the command as a reader would type it.
        wanted: by name, whether the whole screen's text is meant; asked after every write.
        where: `cwd` and `env` of the process.
    """
    found: dict[str, str] = {}
    for screen in _screens(command, where):
        text = "\n".join(screen.display)
        for name, is_meant in wanted.items():
            if is_meant(text):
                found[name] = _PAGE.format(command=html.escape(shown), lines=_lines(screen))
    if missing := wanted.keys() - found:
        raise RuntimeError(f"{shown}: never on the screen: {', '.join(sorted(missing))}")
    return found


def _screens(command: list[str], where: dict[str, Any]) -> Iterator[pyte.Screen]:
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    ours, theirs = pty.openpty()
    env = {**where.pop("env"), "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    process = subprocess.Popen(command, stdout=theirs, stdin=theirs, env=env, **where)
    os.close(theirs)
    try:
        while content := _read(ours):
            stream.feed(content)
            yield screen
    finally:
        os.close(ours)
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, command)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError as error:
        if error.errno != errno.EIO:  # what Linux says when the process has gone
            raise
        return b""


def _lines(screen: pyte.Screen) -> str:
    used = max(row for row, text in enumerate(screen.display) if text.strip()) + 1
    return "\n".join(_line(screen.buffer[row]) for row in range(used))


def _line(cells: Any) -> str:
    text = ""
    for column in range(COLUMNS):
        cell = cells[column]
        color = _COLORS.get(cell.fg, f"#{cell.fg}")
        style = f"color:{color}" + (";font-weight:700" if cell.bold else "")
        text += f'<span style="{style}">{html.escape(cell.data)}</span>'
    return text
