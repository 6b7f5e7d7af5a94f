"""The command line of a run's settings."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from trainer.settings.config import Config, without
from trainer.settings.identity import quoted
from trainer.settings.setting import Scope


def changed(config: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the non-default settings: {"name", "value", "default"}, in the flags' order."""
    defaults = without(Scope.PROCESS, Config(workdir="-").to_dict())
    return [
        {"name": name, "value": text(config[name]), "default": text(default)}
        for name, default in defaults.items()
        if name in config and config[name] != default
    ]


def flag(name: str, value: Any) -> str:
    """Return a setting's flag as it is typed."""
    return f"--no{name}" if value is False else f"--{name}"


def text(value: Any) -> str:
    """Format a setting's value for the page."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return "not set" if value is None else quoted(value) or "not set"


def command(config: Mapping[str, Any]) -> str:
    """Return the shortest `graft train …` with these settings; "" if none are known."""
    if not config:
        return ""
    arguments = ["--workdir=ANOTHER"]  # its own would resume the run
    for setting in changed(config):
        name, value = setting["name"], config[setting["name"]]
        if isinstance(value, bool):
            arguments.append(flag(name, value))
        elif value is not None:
            arguments.append(f"--{name}={quoted(value)}")
    return " ".join(["graft train", *map(shlex.quote, arguments)])
