"""Several runs side by side: from what each of them keeps to what their page says."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trainer.process.errors import UserError
from trainer.report import command_of, contents
from trainer.settings.config import without
from trainer.settings.setting import Scope
from trainer.storage import api as storage
from trainer.workdir import curves, paths

_MAX_EXAMPLES = 60
_EXAMPLES = {name: {"shown": ()} for name in ("mistakes", "mislabels", "duplicates")}

# Of the table: title, the path in metrics.json, how it is written, and 1 where more is better.
_FIGURES: tuple[tuple[str, str, str, int], ...] = (
    ("validation accuracy", "eval.accuracy", "percent", 1),
    ("validation loss", "eval.loss", "fraction", -1),
    ("test accuracy", "test.accuracy", "percent", 1),
    ("training accuracy", "train.accuracy", "percent", 0),
    ("best step", "best.global_step", "count", 0),
    ("steps", "global_step", "count", 0),
    ("images a second", "examples_per_sec", "count", 1),
    ("wall time", "wall_secs", "duration", -1),
    ("trainable parameters", "num_trainable_params", "count", 0),
)


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """What a run keeps.

    Attributes:
        workdir: as given.
        metrics, settings: `metrics.json` and `config.json`; empty where there is none.
        curves: see curves.read.
        dropped: what is not there, or damaged, in words.
        predictions: rows of `report/predictions.csv` by example id.
        pictures: data URIs by example id, of those in its `report/contents.json`.
    """

    workdir: str
    metrics: Mapping[str, Any]
    settings: Mapping[str, Any]
    curves: curves.Curves
    dropped: str
    predictions: Mapping[str, Mapping[str, str]]
    pictures: Mapping[str, str]


def read(workdir: str) -> RunFiles:
    """The run in `workdir`, local or gs://, as far as it has come.

    Raises:
        UserError: there is no run.
    """
    settings = _json(storage.join(workdir, "config.json"))
    metrics = _json(storage.join(workdir, "metrics.json"))
    if not settings and not metrics:
        raise UserError(f"{workdir}: no run; it has neither config.json nor metrics.json")
    table = csv.DictReader(io.StringIO(_text(storage.join(workdir, "report/predictions.csv"))))
    predictions = {row["id"]: row for row in table if None not in row.values()}
    points, dropped = curves.read(paths.part(workdir, "logs"))
    shown = _json(storage.join(workdir, "report/contents.json"))
    if predictions and not shown:  # as in workdirs of earlier versions
        dropped = f"{dropped} No pictures: there is no report/contents.json.".lstrip()
    return RunFiles(workdir, metrics, settings, points, dropped, predictions, _pictures(shown))


def build(runs: Sequence[RunFiles]) -> dict[str, Any]:
    """What the page of several runs shows; JSON's types, all numbers finite."""
    names = _names([run.workdir for run in runs])
    metrics = [contents.whole(dict(run.metrics), contents.METRICS) for run in runs]
    found = {
        "names": names,
        "intervals": [
            contents.interval(m["eval"]["accuracy"], m["eval"]["num_examples"] or 0)
            for m in metrics
        ],
        "figures": _figures(contents.finite(metrics)),
        "settings": _differences([run.settings.get("config", {}) for run in runs]),
        "curves": {
            name: {
                curve: {tag: contents.thinned(points) for tag, points in tags.items()}
                for curve, tags in run.curves.items()
            }
            for name, run in zip(names, runs, strict=True)
        },
        "dropped": [
            {"name": name, "text": run.dropped}
            for name, run in zip(names, runs, strict=True)
            if run.dropped
        ],
        "examples": _examples(runs),
    }
    return contents.finite(found)


def mcnemar(gained: int, lost: int) -> float:
    """How probable so uneven a change of sides is if neither model is better, in (0, 1].

    The exact, two-sided form of McNemar's test, Psychometrika 12, 1947.
    """
    total = gained + lost
    if not total:
        return 1.0
    tail = sum(math.comb(total, k) for k in range(min(gained, lost) + 1)) / 2**total
    return min(1.0, 2 * tail)


def _figures(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for title, path, kind, sign in _FIGURES:
        values = [_at(of_run, path) for of_run in metrics]
        known = [value for value in values if value is not None]
        if not known:
            continue
        best = max(known, key=lambda value: sign * value) if sign and len(set(known)) > 1 else None
        cells = [{"value": v, "is_best": v is not None and v == best} for v in values]
        rows.append({"title": title, "path": path, "kind": kind, "cells": cells})
    return rows


def _differences(configs: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The flags in which the runs differ, with the value of each."""
    order = without(Scope.PROCESS, dict.fromkeys(name for config in configs for name in config))
    rows = []
    for name in order:
        values = [config.get(name) for config in configs]
        if any(v != values[0] for v in values):
            rows.append({"name": name, "values": list(map(command_of.text, values))})
    return rows


def _examples(runs: Sequence[RunFiles]) -> dict[str, Any]:
    """The examples that some runs get right and others do not."""
    common = set(runs[0].predictions)
    for run in runs[1:]:
        common &= run.predictions.keys()
    sides = {
        name: [_is_right(run.predictions[name]) for run in runs]
        for name in sorted(common)
        if len({run.predictions[name]["label"] for run in runs}) == 1
    }
    changed = [name for name, right in sides.items() if len(set(right)) > 1]
    changed.sort(key=lambda name: (sum(sides[name]), name))
    against_first = []
    for number in range(1, len(runs)):
        gained = sum(right[number] and not right[0] for right in sides.values())
        lost = sum(right[0] and not right[number] for right in sides.values())
        against_first.append({"gained": gained, "lost": lost, "chance": mcnemar(gained, lost)})
    return {
        "num_common": len(sides),
        "num_changed": len(changed),
        "against_first": against_first,
        "shown": [
            {
                "id": name,
                "label": runs[0].predictions[name]["label"],
                "picture": next((r.pictures[name] for r in runs if name in r.pictures), ""),
                "answers": [
                    {
                        "prediction": run.predictions[name]["prediction"],
                        "confidence": _float(run.predictions[name]["confidence"]),
                        "is_right": is_right,
                    }
                    for run, is_right in zip(runs, sides[name], strict=True)
                ],
            }
            for name in changed[:_MAX_EXAMPLES]
        ],
    }


def _pictures(shown: dict[str, Any]) -> dict[str, str]:
    found = contents.whole(shown, _EXAMPLES)
    examples = [*found["mistakes"]["shown"], *found["mislabels"]["shown"]]
    for twin in found["duplicates"]["shown"]:
        examples += twin["validation"], twin["train"]
    return {example["id"]: example["picture"] for example in examples if example["picture"]}


def _names(workdirs: Sequence[str]) -> list[str]:
    """What tells the runs apart: their directories' last names, or as much as it takes."""
    parts = [workdir.rstrip("/").split("/") for workdir in workdirs]
    take: Callable[[int], list[str]] = lambda count: ["/".join(p[-count:]) for p in parts]  # noqa: E731
    for count in range(1, max(map(len, parts)) + 1):
        if len(set(take(count))) == len(parts):
            return take(count)
    return [f"{number + 1}: {workdir}" for number, workdir in enumerate(workdirs)]


def _at(metrics: Mapping[str, Any], path: str) -> Any:
    value: Any = metrics
    for key in path.split("."):
        value = (value or {}).get(key)
    return value


def _is_right(row: Mapping[str, str]) -> bool:
    return row["prediction"] == row["label"]


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _text(path: str) -> str:
    try:
        return storage.read_bytes(path).decode("utf-8", "replace")
    except OSError:
        return ""


def _json(path: str) -> dict[str, Any]:
    text = _text(path)
    try:
        found = json.loads(text) if text else {}
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: not what a run writes")
    return found
