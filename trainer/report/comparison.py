"""Compare several runs: read the files of each, and build what their page shows."""

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
from trainer.workdir.finished import CONTENTS_FILE, PREDICTIONS_FILE

_MAX_EXAMPLES = 60
_EXAMPLES = {name: {"shown": ()} for name in ("mistakes", "mislabels", "duplicates")}

# Rows of the table: title, path in metrics.json, format, and 1 if higher is better, -1 if lower.
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
    """The files of a run.

    Attributes:
        workdir: as given.
        metrics, settings: `metrics.json` and `config.json`; empty if missing.
        curves: see curves.read.
        dropped: a message about what is missing or corrupt.
        predictions: rows of `report/predictions.csv` by example id.
        images: data URIs by example id, of those in its `report/contents.json`.
    """

    workdir: str
    metrics: Mapping[str, Any]
    settings: Mapping[str, Any]
    curves: curves.Curves
    dropped: str
    predictions: Mapping[str, Mapping[str, str]]
    images: Mapping[str, str]


def read(workdir: str) -> RunFiles:
    """Read the run in `workdir`, local or gs://, finished or not.

    Raises:
        UserError: there is no run.
    """
    settings = _json(storage.join(workdir, "config.json"))
    metrics = _json(storage.join(workdir, "metrics.json"))
    if not settings and not metrics:
        raise UserError(f"{workdir}: no run; it has neither config.json nor metrics.json")
    table = csv.DictReader(io.StringIO(_text(storage.join(workdir, PREDICTIONS_FILE))))
    predictions = {row["id"]: row for row in table if None not in row.values()}
    points, dropped = curves.read(paths.part(workdir, "logs"))
    shown = _json(storage.join(workdir, CONTENTS_FILE))
    if predictions and not shown:  # as in workdirs of earlier versions
        dropped = f"{dropped} No images: there is no report/contents.json.".lstrip()
    return RunFiles(workdir, metrics, settings, points, dropped, predictions, _images(shown))


def build(runs: Sequence[RunFiles]) -> dict[str, Any]:
    """Return what the page of several runs shows; JSON's types, all numbers finite."""
    names = _names([run.workdir for run in runs])
    metrics = [contents.with_defaults(dict(run.metrics), contents.METRICS) for run in runs]
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
    """Return the p-value of McNemar's exact, two-sided test, in (0, 1].

    Psychometrika 12, 1947; the null hypothesis is that neither model is better.
    """
    total = gained + lost
    if not total:
        return 1.0
    tail = sum(math.comb(total, k) for k in range(min(gained, lost) + 1)) / 2**total
    return min(1.0, 2 * tail)


def _figures(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for title, path, kind, sign in _FIGURES:
        values = [_at(figures, path) for figures in metrics]
        known = [value for value in values if value is not None]
        if not known:
            continue
        best = max(known, key=lambda value: sign * value) if sign and len(set(known)) > 1 else None
        cells = [{"value": v, "is_best": v is not None and v == best} for v in values]
        rows.append({"title": title, "path": path, "kind": kind, "cells": cells})
    return rows


def _differences(configs: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the flags in which the runs differ, with the value of each run."""
    order = without(Scope.PROCESS, dict.fromkeys(name for config in configs for name in config))
    rows = []
    for name in order:
        values = [config.get(name) for config in configs]
        if any(v != values[0] for v in values):
            rows.append({"name": name, "values": list(map(command_of.text, values))})
    return rows


def _examples(runs: Sequence[RunFiles]) -> dict[str, Any]:
    """Return the examples that some runs classify correctly and others do not."""
    common = set(runs[0].predictions)
    for run in runs[1:]:
        common &= run.predictions.keys()
    is_correct = {
        name: [_is_correct(run.predictions[name]) for run in runs]
        for name in sorted(common)
        if len({run.predictions[name]["label"] for run in runs}) == 1
    }
    changed = [name for name, answers in is_correct.items() if len(set(answers)) > 1]
    changed.sort(key=lambda name: (sum(is_correct[name]), name))
    against_first = []
    for number in range(1, len(runs)):
        gained = sum(answers[number] and not answers[0] for answers in is_correct.values())
        lost = sum(answers[0] and not answers[number] for answers in is_correct.values())
        against_first.append({"gained": gained, "lost": lost, "chance": mcnemar(gained, lost)})
    return {
        "num_common": len(is_correct),
        "num_changed": len(changed),
        "against_first": against_first,
        "shown": [
            {
                "id": name,
                "label": runs[0].predictions[name]["label"],
                "picture": next((r.images[name] for r in runs if name in r.images), ""),
                "answers": [
                    {
                        "prediction": run.predictions[name]["prediction"],
                        "confidence": _float(run.predictions[name]["confidence"]),
                        "is_right": correct,
                    }
                    for run, correct in zip(runs, is_correct[name], strict=True)
                ],
            }
            for name in changed[:_MAX_EXAMPLES]
        ],
    }


def _images(shown: dict[str, Any]) -> dict[str, str]:
    found = contents.with_defaults(shown, _EXAMPLES)
    examples = [*found["mistakes"]["shown"], *found["mislabels"]["shown"]]
    for pair in found["duplicates"]["shown"]:
        examples += pair["validation"], pair["train"]
    return {example["id"]: example["picture"] for example in examples if example["picture"]}


def _names(workdirs: Sequence[str]) -> list[str]:
    """Return distinct names: the last parts of the workdirs, as many as it takes."""
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


def _is_correct(row: Mapping[str, str]) -> bool:
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
        raise UserError(f"{path}: must be a JSON object, as a run writes it")
    return found
