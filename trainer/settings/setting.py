"""A row of the table in table.py, from which flags, checks and docs are generated."""

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

# By a field's annotation: the type of a value, or of a list's item, and its description.
_KINDS: dict[str, tuple[type, str]] = {
    "str": (str, "text"),
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "bool": (bool, "true or false"),
    "tuple[int, ...]": (int, "whole numbers, separated by commas"),
    "tuple[str, ...]": (str, "names, separated by commas"),
}


class Scope(enum.Flag):
    """What a setting may vary with, and how it is used."""

    NONE = 0
    RESUMABLE = enum.auto()  # may change when a run is resumed: the weights do not depend on it
    PROCESS = enum.auto()  # of one process or machine, not of the run
    WORKER = enum.auto()  # may differ between workers
    HYPERPARAMETER = enum.auto()  # compared between runs in TensorBoard's HPARAMS
    PATH = enum.auto()  # `~` is expanded


@dataclasses.dataclass(frozen=True)
class Setting:
    """A row of the table, without the setting's name and type.

    Attributes:
        group: the heading in `--help`.
        default: as in Config.
        help: one-line help.
        scope: see Scope.
        within: a number's range: at least the first, and below the second.
        choices: the allowed values, if they are few.
        rule: predicate of a value, and its description.
    """

    group: str
    default: Any
    help: str
    scope: Scope = Scope.NONE
    within: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    rule: tuple[Callable[[Any], bool], str] | None = None


def setting(group: str, default: Any, text: str, scope: Scope = Scope.NONE, /, **more: Any) -> Any:
    """Return a dataclass field that holds its row; arguments as Setting's attributes."""
    row = Setting(group, default, text, scope, **more)
    return dataclasses.field(default=default, metadata={"setting": row})


def rows(config_class: Any) -> dict[str, Setting]:
    """Return the table of a class by setting name."""
    return {field.name: field.metadata["setting"] for field in dataclasses.fields(config_class)}


def kind(config_class: Any, name: str) -> tuple[type, bool]:
    """Return the type of a setting's value, or of its items, and whether it is a list."""
    annotation = _annotation(config_class, name)
    return _KINDS[annotation][0], annotation.startswith("tuple")


def converted(config_class: Any, name: str, value: Any) -> Any:
    """Convert `value` to the setting's type: an int to float, a Path to str, a list to tuple.

    Raises:
        UserError: it has another type.
    """
    annotation, row = _annotation(config_class, name), rows(config_class)[name]
    if value is None and row.default is None:
        return None
    wanted, description = _KINDS[annotation]
    if not annotation.startswith("tuple"):
        items = [value]
    elif isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        items = [None]
    else:
        items = list(value)
    found = [_convert(item, wanted) for item in items]
    if None in found:
        raise UserError(f"--{name}={quoted(value)}: must be {description}")
    return tuple(found) if annotation.startswith("tuple") else found[0]


def check(name: str, row: Setting, value: Any) -> None:
    """Validate `value` against its row.

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
    """Convert `value`, or return None if its type does not match."""
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
