"""Decide from its workdir whether a run has finished."""

from __future__ import annotations

import json
from typing import Any

from trainer.settings.config import Config, without
from trainer.settings.setting import Scope
from trainer.storage import api as storage
from trainer.workdir import paths, status
from trainer.workdir.state import RunState

METRICS_FILE = "metrics.json"
REPORT_FILE, CONTENTS_FILE = "report/index.html", "report/contents.json"
PREDICTIONS_FILE = "report/predictions.csv"


def read(config: Config, state: RunState) -> dict[str, Any] | None:
    """Return `metrics.json` if the run finished at `state` with all outputs of `config`."""
    metrics = _read(config, state)
    return None if metrics and config.report and not _has_report(config, metrics) else metrics


def already_finished_message(config: Config, step: int) -> str:
    """Return the message for a run that finished at `step`."""
    length = "num_steps" if config.num_steps else "num_epochs"
    return f"finished   already at step {step:,}; a longer --{length} trains on"


def _has_report(config: Config, metrics: dict[str, Any]) -> bool:
    """Whether the report that belongs to `metrics` exists."""
    if not metrics.get("report"):
        return False
    directory, _, name = storage.join(config.workdir, REPORT_FILE).rpartition("/")
    return name in storage.list_names(directory)


def _read(config: Config, state: RunState) -> dict[str, Any] | None:
    if config.export_formats and not _is_exported(config):
        return None
    try:
        metrics = json.loads(storage.read_bytes(storage.join(config.workdir, METRICS_FILE)))
        float(metrics["eval"]["accuracy"]), int(metrics["eval"]["num_examples"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    asked = state.global_step, config.test_split
    return metrics if (metrics.get("global_step"), metrics.get("test_split", "")) == asked else None


def metrics_if_finished(config: Config) -> dict[str, Any] | None:
    """Return `metrics.json` for a restarted worker that may be the only one left, None if unsure.

    A Job never restarts a worker that exited with 0, so a worker killed after the end of the run
    would wait forever for the other workers, even if only the report is missing.
    """
    settings = status.settings(config.workdir)
    earlier = without(Scope.PROCESS, settings.get("config", {}))
    if earlier != without(Scope.PROCESS, config.to_dict()):
        return None
    state = _end(config, settings)
    return _read(config, state) if state is not None else None


def has_ended(config: Config) -> bool:
    """Whether the training of `config` has ended, exported or not."""
    return _end(config, status.settings(config.workdir)) is not None


def report_path(config: Config, metrics: dict[str, Any]) -> str:
    """Return the path of the report that belongs to `metrics`, "" if there is none."""
    has_report = config.report and _has_report(config, metrics)
    return storage.join(config.workdir, REPORT_FILE) if has_report else ""


def _end(config: Config, settings: dict[str, Any]) -> RunState | None:
    """Return the state of the newest checkpoint, if it is the last one of a run of `settings`."""
    num_steps = status.num_steps(settings)
    step, values = status.newest_checkpoint(config.workdir)
    if step is None or num_steps is None:
        return None
    state = RunState.from_dict(values)
    state.update_early_stopping(config.early_stopping_patience)
    return state if state.is_over(num_steps) else None


def _is_exported(config: Config) -> bool:
    directory = paths.part(config.workdir, "export")
    manifest = storage.read_manifest(directory)
    if manifest is None or storage.verify(directory, manifest) is not None:
        return False
    return manifest.facts.get("export_formats") == list(config.export_formats)
