"""What a look at one thing has found, for a person and for a machine."""

from __future__ import annotations

import dataclasses
import shlex
import textwrap
from collections.abc import Sequence
from typing import Any, TextIO

VERSION = 1  # of the JSON
OK, WARNING, ERROR = "ok", "warning", "error"
AREAS = ("command", "machine", "cluster", "workdir", "backbone", "data")
_INDENT, _WIDTH = 20, 80
_MOST_SHOWN = 10


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes:
        area: one of AREAS.
        check: its name, the same for ever.
        severity: OK; WARNING, if it costs something; ERROR, if the run would fail.
        message: what is so.
        cost: what that costs.
        fix: the command that does away with it, or what to do where none can; empty where the
            message says it.
        items: every file, pair or setting that it is about.
        shows_all: whether a person, too, must see every item.
    """

    area: str
    check: str
    severity: str
    message: str
    cost: str = ""
    fix: str = ""
    items: tuple[str, ...] = ()
    shows_all: bool = dataclasses.field(default=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        found = dataclasses.asdict(self)
        del found["shows_all"]
        return {**found, "items": list(self.items)}


def exit_code(findings: Sequence[Finding]) -> int:
    """2 where anything would fail, else 0."""
    return 2 if any(finding.severity == ERROR for finding in findings) else 0


def to_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """All findings as JSON's types; keys are added, never renamed, while VERSION stays."""
    return {
        "version": VERSION,
        "exit_code": exit_code(findings),
        "num_errors": _count(findings, ERROR),
        "num_warnings": _count(findings, WARNING),
        "findings": [finding.to_dict() for finding in findings],
    }


def show(findings: Sequence[Finding], stream: TextIO) -> None:
    """Print all findings by area; in colours on a terminal."""
    from rich.console import Console

    console = Console(file=stream, highlight=False, emoji=False, soft_wrap=True)
    style = {OK: "green", WARNING: "yellow", ERROR: "bold red"}

    def say(text: str, style: str = "") -> None:
        console.print(text, style=style or None, markup=False, end="")

    area = ""
    for finding in findings:
        say(f"{'' if finding.area == area else finding.area:<11}", "bold")
        area = finding.area
        say(f"{finding.severity:<9}", style[finding.severity])
        lines = textwrap.wrap(finding.message, _WIDTH - _INDENT, break_long_words=False)
        say(f"\n{' ' * _INDENT}".join(lines or [""]) + "\n")
        for line in _details(finding):
            say(f"{' ' * _INDENT}{line}\n", "dim" if line.startswith("  ") else "")
    say("\n" + _verdict(findings) + "\n", "bold")


def again(words: Sequence[str], *more: str) -> str:
    """The run's command line with other settings, `--name=value` each, as one types it."""
    others = {_name(word) for word in more}
    kept = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or _name(word) not in others:
            kept.append(word)
        elif "=" not in word:
            next(rest, None)  # the value is a word of its own
    return f"graft train {shlex.join([*kept, *more])}"


def _name(word: str) -> str:
    return word.partition("=")[0].lstrip("-")


def _details(finding: Finding) -> list[str]:
    shown = finding.items if finding.shows_all else finding.items[:_MOST_SHOWN]
    lines = [f"  {item}" for item in shown]
    if len(shown) < len(finding.items):
        lines.append(f"  and {len(finding.items) - len(shown):,} more; --json lists all")
    lines += _wrapped("cost: ", finding.cost)
    # A command stays in one line: it is to be copied.
    is_command = finding.fix.startswith(("graft ", "rm ", "pip ", "export "))
    return lines + ([f"fix:  {finding.fix}"] if is_command else _wrapped("fix:  ", finding.fix))


def _wrapped(head: str, text: str) -> list[str]:
    if not text:
        return []
    width = _WIDTH - _INDENT
    return textwrap.wrap(head + text, width, subsequent_indent="      ", break_long_words=False)


def _verdict(findings: Sequence[Finding]) -> str:
    errors, warnings = _count(findings, ERROR), _count(findings, WARNING)
    counted = ", ".join(
        f"{count} {name}{'s' * (count > 1)}"
        for count, name in ((errors, "error"), (warnings, "warning"))
        if count
    )
    if errors:
        return f"{counted}: this run would fail"
    return f"{counted}: this run would work" if warnings else "all is well"


def _count(findings: Sequence[Finding], severity: str) -> int:
    return sum(finding.severity == severity for finding in findings)
