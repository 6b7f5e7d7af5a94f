"""Write docs/flags.md from the table of settings: `make docs`."""

from __future__ import annotations

import math
from pathlib import Path

from trainer.settings.flags import TRAINER
from trainer.settings.identity import quoted
from trainer.settings.setting import Scope, Setting
from trainer.settings.table import TABLE

HEAD = """# Flags of `graft train`

Also the fields of `trainer.Config`. `graft COMMAND --help` lists the flags of the other commands.

A run that is resumed must have the values of the run before, but for flags marked *may change*.
Flags marked *per worker* may differ from worker to worker; all others are compared before training.
"""


def page() -> str:
    """The text of docs/flags.md."""
    lines = [HEAD]
    for group, flags in TRAINER.items():
        lines.append(f"## {group}\n\n| flag | default | values | what it does | scope |")
        lines.append("|---|---|---|---|---|")
        for flag in flags:
            row = TABLE[flag.name]
            cells = [
                f"`--{'[no]' if flag.kind is bool else ''}{flag.name}`",
                _default(row),
                _values(row),
                row.help,
                _scope(row),
            ]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _default(row: Setting) -> str:
    if isinstance(row.default, bool):
        return "on" if row.default else "off"
    return f"`{quoted(row.default)}`" if row.default not in (None, "", ()) else ""


def _values(row: Setting) -> str:
    if row.choices:
        return ", ".join(f"`{choice}`" for choice in row.choices)
    if row.within is None:
        return row.rule[1] if row.rule and (row.is_list or row.kind is not str) else ""
    low, high = row.within
    if high in (math.inf, 2**31):
        return f"≥ {low:,}"
    return f"{low:,} to {high - 1:,}" if row.kind is int else f"≥ {low:,}, < {high:,}"


def _scope(row: Setting) -> str:
    resumable = "may change" if Scope.RESUMABLE in row.scope else ""
    return ", ".join(filter(None, [resumable, "per worker" * (Scope.WORKER in row.scope)]))


if __name__ == "__main__":
    Path(__file__).with_name("flags.md").write_text(page(), encoding="utf-8")
