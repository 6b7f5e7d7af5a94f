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
    """A row of the table.

    Attributes:
        group: the heading in `--help`.
        default: as in Config.
        help: one-line help.
        scope: see Scope.
        within: a number's range: at least the first, and below the second.
        choices: the allowed values, if they are few.
        rule: predicate of a value, and its description.
        name, annotation: of the dataclass field.
    """

    group: str
    default: Any
    help: str
    scope: Scope = Scope.NONE
    within: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    rule: tuple[Callable[[Any], bool], str] | None = None
    name: str = ""
    annotation: str = ""

    @property
    def kind(self) -> type:
        """The type of a value, or of a list's item."""
        return _KINDS[self.annotation][0]

    @property
    def is_list(self) -> bool:
        """Whether a value is a list of items."""
        return self.annotation.startswith("tuple")

    def convert(self, value: Any) -> Any:
        """Convert `value` to the setting's type: an int to float, a Path to str, a list to tuple.

        Raises:
            UserError: it has another type.
        """
        if value is None and self.default is None:
            return None
        if not self.is_list:
            items = [value]
        elif isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
            items = [None]
        else:
            items = list(value)
        found = [_convert(item, self.kind) for item in items]
        if None in found:
            self._refuse(value, _KINDS[self.annotation][1])
        return tuple(found) if self.is_list else found[0]

    def check(self, value: Any) -> None:
        """Validate `value`.

        Raises:
            UserError: it breaks a rule; the message names the flag, the value and the rule.
        """
        if self.choices and value not in self.choices:
            self._refuse(value, f"one of {', '.join(map(repr, self.choices))}")
        if self.rule is not None and not self.rule[0](value):
            self._refuse(value, self.rule[1])
        if self.within is not None and value is not None:
            low, high = self.within
            below = "" if high == math.inf else f" and below {high}"
            if not (math.isfinite(value) and low <= value < high):
                self._refuse(value, f"a finite number, at least {low}{below}")

    def _refuse(self, value: Any, rule: str) -> None:
        raise UserError(f"--{self.name}={quoted(value)}: must be {rule}")


def setting(group: str, default: Any, text: str, scope: Scope = Scope.NONE, /, **more: Any) -> Any:
    """Return a dataclass field that holds its row; arguments as Setting's attributes."""
    row = Setting(group, default, text, scope, **more)
    return dataclasses.field(default=default, metadata={"setting": row})


def rows(settings_class: Any) -> dict[str, Setting]:
    """Return the table of a class by setting name."""
    return {
        field.name: dataclasses.replace(
            field.metadata["setting"],
            name=field.name,
            annotation=str(field.type).removesuffix(" | None"),
        )
        for field in dataclasses.fields(settings_class)
    }


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
