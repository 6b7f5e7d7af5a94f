"""What was measured, by groups of rows: kept in docs/benchmarks.json, shown in benchmarks.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import Row

# By name of a group: {"date", "machine", "pairs", "epochs", "about", "rows": [Row.to_dict()]}.
Results = dict[str, dict[str, Any]]

_HEADER = ("measure", "Graft", "peer", "ratio", "to reach")


def read(path: Path) -> Results:
    """What `write` kept; nothing where there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write(path: Path, results: Results) -> None:
    """Keep `results`."""
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def markdown(results: Results, order: Mapping[str, object]) -> str:
    """The page: one table, and how each group of its rows was measured.

    Args:
        results: what is known; groups that were never measured have no rows.
        order: groups by name, in the order of the page.
    """
    groups = {name: results[name] for name in order if name in results}
    rows = [Row(**row).cells() for group in groups.values() for row in group["rows"]]
    table = [_line(_HEADER), "|---" * len(_HEADER) + "|", *map(_line, rows)]
    machines = list(dict.fromkeys(group["machine"] for group in groups.values()))
    where = dict.fromkeys(machines, "")  # one alone needs no name
    if len(machines) > 1:
        where = {machine: f", on {chr(ord('A') + i)}" for i, machine in enumerate(machines)}
        named = (machine.replace("Machine", f"- Machine {where[machine][-1]}") for machine in where)
        machines = ["", *named]
    about = [
        f"- **{name}** ({group['date']}, {_count(group['pairs'], 'pair')}"
        f"{where[group['machine']]}). {group['about']}"
        for name, group in groups.items()
    ]
    return "\n".join([_INTRODUCTION, *machines, "", *table, "", _HOW, *about, ""])


_INTRODUCTION = """\
# Benchmarks

`make bench` writes this page. Every figure is of whole processes that run in turn, Graft, peer,
Graft, peer, …; a ratio is taken within a pair. A cell shows the median over the pairs and, in
brackets, the lowest and the highest. For times and rates a ratio above 1× says how many times
faster Graft is; for memory, for growth and for the lower bound it says how many times as much.

The images are the embedded data set `leaves` (1,034 to train on, 133 to validate, JPEG of 500×500);
the backbone is the embedded EfficientNet-Lite0 at 224×224; a batch has 32 images. Data and backbone
are prepared beforehand. A ratio depends on the machine, too: the slower its arithmetic is beside
its Python, the larger are those of whole runs."""

_HOW = """\
## How it was measured

`python -m benchmarks.run --rows=NAME,…` measures groups of rows again and keeps the others."""


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
