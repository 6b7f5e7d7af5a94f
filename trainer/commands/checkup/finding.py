"""The findings of a check, printed as text or JSON."""

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
        check: its stable name.
        severity: OK; WARNING, if it costs something; ERROR, if the run would fail.
        message: what was found.
        cost: its consequence.
        fix: a command, or else what to do; empty if the message says it.
        items: all affected files, pairs or settings.
        shows_all: whether the text, too, lists every item.
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
        """Return the finding in JSON's types."""
        found = dataclasses.asdict(self)
        del found["shows_all"]
        return {**found, "items": list(self.items)}


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 2 if any finding is an ERROR, else 0."""
    return 2 if any(finding.severity == ERROR for finding in findings) else 0


def to_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return all findings in JSON's types; within a VERSION keys are added, never renamed."""
    return {
        "version": VERSION,
        "exit_code": exit_code(findings),
        "num_errors": _count(findings, ERROR),
        "num_warnings": _count(findings, WARNING),
        "findings": [finding.to_dict() for finding in findings],
    }


def show(findings: Sequence[Finding], stream: TextIO) -> None:
    """Print all findings by area; in color on a terminal."""
    from rich.console import Console

    console = Console(file=stream, highlight=False, emoji=False, soft_wrap=True)
    style = {OK: "green", WARNING: "yellow", ERROR: "bold red"}

    def write(text: str, style: str = "") -> None:
        console.print(text, style=style or None, markup=False, end="")

    area = ""
    for finding in findings:
        write(f"{'' if finding.area == area else finding.area:<11}", "bold")
        area = finding.area
        write(f"{finding.severity:<9}", style[finding.severity])
        lines = textwrap.wrap(finding.message, _WIDTH - _INDENT, break_long_words=False)
        write(f"\n{' ' * _INDENT}".join(lines or [""]) + "\n")
        for line in _details(finding):
            write(f"{' ' * _INDENT}{line}\n", "dim" if line.startswith("  ") else "")
    write("\n" + _verdict(findings) + "\n", "bold")


def train_command(argv: Sequence[str], *changes: str) -> str:
    """Return the run's command line with `changes`, each `--name=value`."""
    changed = {_name(argument) for argument in changes}
    kept = []
    rest = iter(argv)
    for argument in rest:
        if not argument.startswith("-") or _name(argument) not in changed:
            kept.append(argument)
        elif "=" not in argument:
            next(rest, None)  # the value is the next argument
    return f"graft train {shlex.join([*kept, *changes])}"


def _name(argument: str) -> str:
    return argument.partition("=")[0].lstrip("-")


def _details(finding: Finding) -> list[str]:
    shown = finding.items if finding.shows_all else finding.items[:_MOST_SHOWN]
    lines = [f"  {item}" for item in shown]
    if len(shown) < len(finding.items):
        lines.append(f"  and {len(finding.items) - len(shown):,} more; --json lists all")
    lines += _wrapped("cost: ", finding.cost)
    # A command stays on one line, to be copied.
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
    return f"{counted}: this run would work" if warnings else "no problems found"


def _count(findings: Sequence[Finding], severity: str) -> int:
    return sum(finding.severity == severity for finding in findings)
