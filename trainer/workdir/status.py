"""Read a run's status from its workdir, for `graft watch`."""

from __future__ import annotations

import json
from typing import Any

from trainer.process.errors import UserError
from trainer.settings import plan
from trainer.settings.config import Config
from trainer.storage import api as storage
from trainer.workdir import checkpoint_list, goodput, paths

# The ledger is written every few seconds, except during feature extraction and export.
SILENT_SECS = 60.0


def read(workdir: str, now: float) -> dict[str, Any]:
    """Return the status of the run in `workdir`, in JSON types; unknown values are None.

    Args:
        workdir: local or gs://.
        now: seconds since 1970.

    Returns:
        {"workdir", "phase", "global_step", "num_steps", "train", "best", "examples_per_sec",
        "secs_left", "last_checkpoint", "restarts", "wall_secs", "in_steps", "silent_secs"}.
        `phase` is `absent`, `running`, `stopped` (by a signal), `silent` (for SILENT_SECS: killed,
        or busy outside of steps) or `finished`; `in_steps` is the fraction of the wall time.
    """
    asked = settings(workdir)
    finished = _json(workdir, "metrics.json")
    ledger = _bytes(workdir, goodput.FILE)
    lines = [_line(text) for text in ledger.splitlines()]
    last: dict[str, Any] = next((line for line in reversed(lines) if line), {})
    checkpoint, state = newest_checkpoint(workdir)
    step = max(int(last.get("step", 0)), checkpoint or 0) if asked else None
    total = num_steps(asked)
    until = float(last.get("until", now))
    speed = state.get("examples_per_sec") or None
    is_finished = bool(finished) and finished.get("global_step") == step
    phase = "running" if now - until <= SILENT_SECS else "silent"
    if not asked:
        phase = "absent"
    elif is_finished:
        phase = "finished"
    elif last.get("stopped"):
        phase = "stopped"
    summary = goodput.Ledger(lambda: until, until, ledger).summary() if last else {}
    left = None
    if total is not None and step is not None and speed and phase in ("running", "silent"):
        left = max(total - step, 0) * asked["config"]["global_batch_size"] / speed
    return {
        "workdir": workdir,
        "phase": phase,
        "global_step": step,
        "num_steps": total,
        "train": (finished if is_finished else state).get("train") or None,
        "best": state.get("best") or None,
        "examples_per_sec": speed,
        "secs_left": left,
        "last_checkpoint": checkpoint,
        "restarts": max(len(lines) - 1, 0),
        "wall_secs": summary.get("wall_secs"),
        "in_steps": summary.get("in_steps"),
        "silent_secs": max(now - until, 0.0) if last else None,
    }


def settings(workdir: str) -> dict[str, Any]:
    """Return `config.json` of the run in `workdir`; empty if missing or invalid."""
    return _json(workdir, "config.json")


def newest_checkpoint(workdir: str) -> tuple[int | None, dict[str, Any]]:
    """Return step and state (RunState.to_dict) of the newest complete checkpoint, if any.

    Raises:
        UserError: a newer version of the program wrote it.
    """
    for _, manifest in checkpoint_list.complete(paths.part(workdir, "checkpoints")):
        return int(manifest.facts["global_step"]), dict(manifest.facts["state"])
    return None, {}


def num_steps(settings: dict[str, Any]) -> int | None:
    """Return the total steps of a run with these settings, None if unknown."""
    try:
        asked = settings["config"]
        names = ("workdir", "num_epochs", "num_steps", "global_batch_size")
        config = Config(**{name: asked[name] for name in names})
        return plan.plan(config, int(settings["identity"]["num_train_examples"])).num_steps
    except (KeyError, TypeError, UserError):
        return None


def describe(status: dict[str, Any]) -> list[str]:
    """Format what `read` returned as lines of text."""
    phase, step, total = status["phase"], status["global_step"], status["num_steps"]
    if phase == "absent":
        return [f"run        nothing in {status['workdir']} yet"]
    if phase == "stopped":
        phase = "stopped; the same command resumes it"
    if phase == "silent":
        phase = (
            f"no update for {_span(status['silent_secs'])}: killed, or busy with features or export"
        )
    lines = [f"run        {phase}; {status['workdir']}"]
    left = f", {_span(status['secs_left'])} left" if status["secs_left"] else ""
    lines += [f"step       {step:,}" + (f" of {total:,}" if total is not None else "") + left]
    if status["train"]:
        lines += [f"training   loss {status['train']['loss']:.4f}"]
        lines[-1] += f", accuracy {status['train']['accuracy']:.4f}"
        lines[-1] += f", {status['examples_per_sec'] or 0:,.0f} images a second"
    if status["best"]:
        best = status["best"]
        lines += [f"best       accuracy {best['accuracy']:.4f} at step {best['global_step']:,}"]
    if status["last_checkpoint"] is not None:
        lines += [f"checkpoint step {status['last_checkpoint']:,}"]
    if status["wall_secs"] is not None:
        lines += [
            f"goodput    {status['in_steps']:.0%} of {_span(status['wall_secs'])} in steps; "
            f"restarts {status['restarts']}"
        ]
    return lines


def _json(workdir: str, name: str) -> dict[str, Any]:
    try:
        return dict(json.loads(_bytes(workdir, name) or b"{}"))
    except ValueError:
        return {}


def _bytes(workdir: str, name: str) -> bytes:
    try:
        return storage.read_bytes(storage.join(workdir, name))
    except FileNotFoundError:
        return b""


def _line(text: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError):
        return {}


def _span(secs: float) -> str:
    if secs < 120:
        return f"{secs:.0f} s"
    return f"{secs / 60:.0f} min" if secs < 7200 else f"{secs / 3600:.1f} h"
