"""`graft rehearse`: run the user's own run, shortened, under failures of a cluster."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import time
from collections.abc import Sequence
from typing import Any

from trainer.launch.local.disturbance import NAMES, SIGNALS, STORAGE, Disturbance
from trainer.launch.local.stage import NewestTensors, Result, Stage
from trainer.process.errors import UserError
from trainer.settings import flags
from trainer.settings.command_line import (
    Flag,
    Groups,
    argument,
    parse,
    parse_flags,
)
from trainer.storage import api as storage
from trainer.workers import sharding

PURPOSE = (
    "Rehearse a run, small and on this machine: undisturbed, then with a random worker killed,\n"
    "frozen, sent SIGTERM, and with its workdir unavailable. Exits with 0 if each run ends with\n"
    "the same weights, else with 1."
)
SYNOPSIS = "graft rehearse --num_workers=N -- --workdir=DIR [flags of graft train]"
FLAGS: Groups = {
    "The rehearsal": (
        Flag("num_workers", 2, "processes", int),
        Flag("num_steps", 200, "length of each run, instead of the trainer's own", int),
        Flag("disturbances", None, "any of " + ", ".join(NAMES) + "; else all that apply", list),
        Flag("seed", None, "random seed of the disturbed workers and steps; else random", int),
        Flag("stall_timeout_secs", 20.0, "seconds after which a frozen worker is lost", float),
        Flag("grace_secs", 10.0, "seconds for other workers to exit before being killed", float),
        Flag("timeout_secs", 900.0, "seconds for each run", float),
        Flag("json", False, "print the result as JSON, all else on stderr", bool),
    ),
}

_NUM_CHECKPOINTS = 10
_COLUMNS = ("disturbance", "step", "recovered", "went on after", "done twice", "same bits")


def rehearse(argv: Sequence[str], newest_tensors: NewestTensors) -> int:
    """Rehearse the run that `argv` describes; return the exit code. See Stage."""
    from rich.console import Console

    values, trainer_argv = parse(argv, FLAGS, flags.TRAINER)
    _check(values)
    given = parse_flags(trainer_argv, flags.TRAINER)
    config = flags.config_from_values(given)
    sharding.check(values["num_workers"], config.logical_shards, config.global_batch_size)
    is_remote = storage.is_remote(config.workdir)
    if values["disturbances"] is None:
        values["disturbances"] = list(SIGNALS) if is_remote else list(NAMES)
    elif is_remote and STORAGE in values["disturbances"]:
        raise UserError(
            f"--disturbances={STORAGE}: a bucket cannot be disconnected; use a local --workdir, "
            "or leave it out"
        )
    seed = values["seed"]
    if seed is None:
        seed = random.SystemRandom().randrange(2**31)
    console = Console(stderr=values["json"], highlight=False, emoji=False)

    def say(line: str) -> None:
        console.print(f"rehearse │ {line}", markup=False, soft_wrap=True)

    directory = storage.join(config.workdir, time.strftime("rehearsal-%Y%m%d-%H%M%S"))
    say(f"--seed={seed}; {values['num_workers']} workers, {values['num_steps']} steps; {directory}")
    stage = Stage(values, lambda workdir: short_argv(values, given, workdir), directory, say)
    stage.undisturbed()
    results = [stage.disturbed(planned) for planned in plan(values, seed)]
    stage.compare(results, newest_tensors)
    passed = all(result.recovered and result.equal_weights for result in results)
    if passed and not is_remote:
        shutil.rmtree(directory, ignore_errors=True)
    else:
        say(f"the runs are left in {directory}")
    if values["json"]:
        facts = {name: values[name] for name in ("num_workers", "num_steps")}
        shown = [dataclasses.asdict(result) for result in results]
        print(json.dumps({"seed": seed, **facts, "passed": passed, "results": shown}, indent=2))
    else:
        console.print(table(results))
    return 0 if passed else 1


def plan(values: dict[str, Any], seed: int) -> list[Disturbance]:
    """Draw the disturbances: worker and step, between a quarter and a half of the run."""
    rng = random.Random(seed)
    steps = range(values["num_steps"] // 4, values["num_steps"] // 2 + 1)
    return [
        Disturbance(name, None if name == STORAGE else worker, step)
        for name in values["disturbances"]
        for worker, step in [(rng.randrange(values["num_workers"]), rng.choice(steps))]
    ]


def short_argv(values: dict[str, Any], given: dict[str, Any], workdir: str) -> list[str]:
    """Return the trainer's arguments for a short run like that of the flags `given`.

    It saves often, exports nothing and logs its progress at every loop boundary.
    """
    num_steps = values["num_steps"]
    changed = dict(
        given,
        workdir=workdir,
        num_steps=num_steps,
        num_epochs=None,
        checkpoint_every_steps=max(1, num_steps // _NUM_CHECKPOINTS),
        checkpoint_every_secs=None,
        warmup_steps=min(given["warmup_steps"], num_steps - 1),
        early_stopping_patience=0,
        export_formats=[],
        test_split="",
        profile_steps=[],
        worker_hosts=[],
        task_index=None,
        stall_timeout_secs=values["stall_timeout_secs"],
        log_format="json",
        log_progress_secs=0.0,
    )
    return [
        argument(flag, changed[flag.name])
        for group in flags.TRAINER.values()
        for flag in group
        if changed[flag.name] not in (None, flag.default)
    ]


def table(results: Sequence[Result]) -> Any:
    """Return the results as a table of rich."""
    from rich.box import MARKDOWN
    from rich.table import Table

    found = Table(*_COLUMNS, box=MARKDOWN)
    for result in results:
        secs = result.secs_until_training
        found.add_row(
            result.title,
            _shown(result.after_step),
            "yes" if result.recovered else "NO",
            "-" if secs is None else f"{secs:.1f} s",
            _shown(result.steps_done_twice),
            "yes" if result.equal_weights else "NO",
        )
    return found


def _shown(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _check(values: dict[str, Any]) -> None:
    for name, least in (
        ("num_workers", 1),
        ("num_steps", 8),
        ("stall_timeout_secs", 1),
        ("grace_secs", 0),
        ("timeout_secs", 1),
    ):
        if not least <= values[name] < 10**6:
            raise UserError(f"--{name}={values[name]}: must be a number, at least {least}")
    if values["disturbances"] is None:
        return
    for name in values["disturbances"] or [""]:
        if name not in NAMES or values["disturbances"].count(name) > 1:
            raise UserError(
                f"--disturbances={','.join(values['disturbances'])}: must be different ones out of "
                + ", ".join(NAMES)
            )
