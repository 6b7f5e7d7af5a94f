"""One setting: a row of the table in table.py, from which flags, checks and docs are made."""

from __future__ import annotations

import dataclasses
import enum
import math
import numbers
import os
from collections.abc import Callable
from typing import Any

from trainer.process.errors import UserError
from trainer.settings.identity import quoted

# By a field's annotation: the type of a value, or of a list's item, and what it must be in words.
_KINDS: dict[str, tuple[type, str]] = {
    "str": (str, "text"),
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "bool": (bool, "true or false"),
    "tuple[int, ...]": (int, "whole numbers, separated by commas"),
    "tuple[str, ...]": (str, "names, separated by commas"),
}


class Scope(enum.Flag):
    """What a setting belongs to, beyond the weights of the run."""

    NONE = 0
    RESUMABLE = enum.auto()  # may change when a run is resumed: the weights do not depend on it
    PROCESS = enum.auto()  # of one process or machine: says nothing of the run
    WORKER = enum.auto()  # may differ from worker to worker
    HYPERPARAMETER = enum.auto()  # what runs are compared by in TensorBoard's HPARAMS
    PATH = enum.auto()  # `~` is expanded


@dataclasses.dataclass(frozen=True)
class Setting:
    """A row: what is known of a setting beside its name and type.

    Attributes:
        group: the heading in `--help`.
        default: as in Config.
        help: what it does, in a line.
        scope: what it belongs to.
        within: a number's range: at least the first, and below the second.
        choices: the values it takes, if they are few.
        rule: whether a value fits, and what it must be in words.
    """

    group: str
    default: Any
    help: str
    scope: Scope = Scope.NONE
    within: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    rule: tuple[Callable[[Any], bool], str] | None = None


def setting(group: str, default: Any, text: str, scope: Scope = Scope.NONE, /, **more: Any) -> Any:
    """A dataclass field that carries its row; arguments as Setting's attributes."""
    row = Setting(group, default, text, scope, **more)
    return dataclasses.field(default=default, metadata={"setting": row})


def rows(config_class: Any) -> dict[str, Setting]:
    """The table of a class by its settings' names."""
    return {field.name: field.metadata["setting"] for field in dataclasses.fields(config_class)}


def kind(config_class: Any, name: str) -> tuple[type, bool]:
    """The type of a setting's value, or of its items, and whether it is a list."""
    annotation = _annotation(config_class, name)
    return _KINDS[annotation][0], annotation.startswith("tuple")


def converted(config_class: Any, name: str, value: Any) -> Any:
    """`value` of Python as the setting's type: an int for a float, a Path for a str, a list.

    Raises:
        UserError: it is of another type.
    """
    annotation, row = _annotation(config_class, name), rows(config_class)[name]
    if value is None and row.default is None:
        return None
    wanted, words = _KINDS[annotation]
    if not annotation.startswith("tuple"):
        items = [value]
    elif isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        items = [None]
    else:
        items = list(value)
    found = [_convert(item, wanted) for item in items]
    if None in found:
        raise UserError(f"--{name}={quoted(value)}: must be {words}")
    return tuple(found) if annotation.startswith("tuple") else found[0]


def check(name: str, row: Setting, value: Any) -> None:
    """Hold `value` against the row.

    Raises:
        UserError: it breaks a rule; the message names the flag, the value and the rule.
    """
    if row.choices and value not in row.choices:
        _refuse(name, value, f"one of {', '.join(map(repr, row.choices))}")
    if row.rule is not None and not row.rule[0](value):
        _refuse(name, value, row.rule[1])
    if row.within is not None and value is not None:
        low, high = row.within
        below = "" if high == math.inf else f" and below {high}"
        if not (math.isfinite(value) and low <= value < high):
            _refuse(name, value, f"a finite number, at least {low}{below}")


def _annotation(config_class: Any, name: str) -> str:
    (found,) = (f.type for f in dataclasses.fields(config_class) if f.name == name)
    return str(found).removesuffix(" | None")


def _convert(value: Any, wanted: type) -> Any:
    """None where it cannot be."""
    if wanted is str and isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    if wanted is bool:
        return value if isinstance(value, bool) else None
    if isinstance(value, bool):
        return None
    if wanted is int and isinstance(value, numbers.Integral):
        return int(value)
    if wanted is float and isinstance(value, numbers.Real):
        return float(value)
    return None


def _refuse(name: str, value: Any, rule: str) -> None:
    raise UserError(f"--{name}={quoted(value)}: must be {rule}")
