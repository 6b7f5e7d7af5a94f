"""Parse a search space: `--tune=learning_rate=1e-4..1e-2:log,optimizer=adam|adamw`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.launch.request import Request
from trainer.process.errors import UserError
from trainer.settings import flags
from trainer.settings.command_line import Flag
from trainer.settings.config import Config, names
from trainer.settings.setting import Scope
from trainer.workers import sharding

_RULE = "must be FLAG=LOW..HIGH, FLAG=LOW..HIGH:log, or FLAG=VALUE|VALUE|…"


def parameters(domains: Sequence[str], request: Request) -> list[dict[str, Any]]:
    """Return the ParameterSpecs of a study, in the order of `domains`.

    The trainer's own parser checks the ends of each range and each value.

    Args:
        domains: of --tune.
        request: the run that each trial varies.

    Raises:
        UserError: the trainer has no such flag, or refuses a value.
    """
    known = {flag.name: flag for group in flags.TRAINER.values() for flag in group}
    found: list[dict[str, Any]] = []
    for text in domains:
        name, _, domain = text.partition("=")
        flag = known.get(name)
        if flag is None or name in names(Scope.PROCESS):
            raise UserError(f"--tune={text}: {name!r} is no flag of the trainer that can be tuned")
        if name in (other["parameterId"] for other in found):
            raise UserError(f"--tune={text}: {name} is named twice")
        found.append({"parameterId": name, **_domain(text, flag, domain, request)})
    return found


def _domain(text: str, flag: Flag, domain: str, request: Request) -> dict[str, Any]:
    if ".." not in domain:
        values = domain.split("|")
        if not all(values) or len(set(values)) < 2:
            raise UserError(f"--tune={text}: {_RULE}, with two different values at least")
        for value in values:
            _try(text, flag, value, request)
        return {"categoricalValueSpec": {"values": values}}
    ends, _, scale = domain.partition(":")
    low, _, high = ends.partition("..")
    if flag.kind not in (int, float) or scale not in ("", "log"):
        raise UserError(f"--tune={text}: {_RULE}; a range is of a number")
    for value in (low, high):
        _try(text, flag, value, request)
    lowest, highest = flag.kind(low), flag.kind(high)
    if not lowest < highest or (scale and lowest <= 0):
        above = ", and above 0 for log" if scale else ""
        raise UserError(f"--tune={text}: LOW must be below HIGH{above}")
    scale_type = "UNIT_LOG_SCALE" if scale else "UNIT_LINEAR_SCALE"
    if flag.kind is int:
        bounds: dict[str, Any] = {"minValue": str(lowest), "maxValue": str(highest)}
        return {"integerValueSpec": bounds, "scaleType": scale_type}
    bounds = {"minValue": lowest, "maxValue": highest}
    return {"doubleValueSpec": bounds, "scaleType": scale_type}


def _try(text: str, flag: Flag, value: str, request: Request) -> Config:
    argument = f"--{flag.name}={value}"
    try:
        config = flags.config_from_argv([*request.trainer_argv, argument])
        sharding.check(request.num_workers, config.logical_shards, config.global_batch_size)
    except UserError as error:
        raise UserError(f"--tune={text}: {error}") from error
    return config
