"""The command that a run's settings come from."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from trainer.settings.config import Config, without
from trainer.settings.identity import quoted
from trainer.settings.setting import Scope


def changed(config: Mapping[str, Any]) -> list[dict[str, str]]:
    """The settings that are not the defaults: {"name", "value", "default"}, in the flags' order."""
    defaults = without(Scope.PROCESS, Config(workdir="-").to_dict())
    return [
        {"name": name, "value": text(config[name]), "default": text(default)}
        for name, default in defaults.items()
        if name in config and config[name] != default
    ]


def flag(name: str, value: Any) -> str:
    """A setting's flag as it is typed."""
    return f"--no{name}" if value is False else f"--{name}"


def text(value: Any) -> str:
    """A setting for who reads it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return "not set" if value is None else quoted(value) or "not set"


def command(config: Mapping[str, Any]) -> str:
    """The shortest `graft train …` with these settings; "" where none are known."""
    if not config:
        return ""
    words = ["--workdir=ANOTHER"]  # its own would resume, or say that it has ended
    for setting in changed(config):
        name, value = setting["name"], config[setting["name"]]
        if isinstance(value, bool):
            words.append(flag(name, value))
        elif value is not None:
            words.append(f"--{name}={quoted(value)}")
    return " ".join(["graft train", *map(shlex.quote, words)])
