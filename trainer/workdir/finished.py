"""Whether a run has ended: what its workdir holds is all that is asked for."""

from __future__ import annotations

import json
from typing import Any

from trainer.settings.config import Config, without
from trainer.settings.setting import Scope
from trainer.storage import api as storage
from trainer.workdir import paths, status
from trainer.workdir.state import RunState

METRICS_FILE, PAGE_FILE = "metrics.json", "report/index.html"


def read(config: Config, state: RunState) -> dict[str, Any] | None:
    """`metrics.json` of a run that ended as `state` stands, with all that `config` asks for."""
    metrics = _read(config, state)
    return None if metrics and config.report and not has_page(config, metrics) else metrics


def already_finished_message(config: Config, step: int) -> str:
    """What to say of it."""
    length = "num_steps" if config.num_steps else "num_epochs"
    return f"finished   already at step {step:,}; a longer --{length} trains on"


def has_page(config: Config, metrics: dict[str, Any]) -> bool:
    """Whether the report that belongs to `metrics` is there."""
    if not metrics.get("report"):
        return False
    directory, _, name = storage.join(config.workdir, PAGE_FILE).rpartition("/")
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
    """The same, for a worker that may be the only one left; None if in any doubt.

    A Job never starts a worker again that has left with 0. One that is killed between the end of
    the run and its own would wait for the others in vain, for the sake of a report, too.
    """
    settings = status.settings(config.workdir)
    earlier = without(Scope.PROCESS, settings.get("config", {}))
    if earlier != without(Scope.PROCESS, config.to_dict()):
        return None
    state = _end(config)
    return _read(config, state) if state is not None else None


def has_ended(config: Config) -> bool:
    """Whether the training that `config` describes has come to its end, exported or not."""
    return _end(config) is not None


def page(config: Config, metrics: dict[str, Any]) -> str:
    """The path of the report that belongs to `metrics`; "" where there is none."""
    is_there = config.report and has_page(config, metrics)
    return storage.join(config.workdir, PAGE_FILE) if is_there else ""


def _end(config: Config) -> RunState | None:
    """The state of the newest checkpoint, if it is the last one of the run in the workdir."""
    num_steps = status.num_steps(status.settings(config.workdir))
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
