"""The command line of `graft train`, made from the table of settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.process.errors import UserError
from trainer.settings.command_line import Flag, Groups, parse_flags
from trainer.settings.config import Config
from trainer.settings.setting import Setting
from trainer.settings.table import TABLE

PURPOSE = "Train a classifier on your images: a new head on a pretrained backbone."


def _flag(row: Setting) -> Flag:
    if row.is_list:
        return Flag(row.name, [str(item) for item in row.default], row.help, list)
    return Flag(row.name, row.default, row.help, row.kind, row.choices)


TRAINER: Groups = {
    group: tuple(_flag(row) for row in TABLE.values() if row.group == group)
    for group in dict.fromkeys(row.group for row in TABLE.values())
}


def config_from_argv(argv: Sequence[str], is_local: bool = True) -> Config:
    """Build the Config from the trainer's command line.

    Args:
        argv: without the program's name.
        is_local: whether it runs on this machine, where `~` is this user's home.

    Raises:
        UserError: an unknown flag, a bad value, a missing --workdir, or a positional argument.
    """
    return config_from_values(parse_flags(argv, TRAINER), is_local)


def config_from_values(values: dict[str, Any], is_local: bool = True) -> Config:
    """Build the Config from parsed `values` by flag name; see config_from_argv."""
    numbers = {
        name: _numbers(name, items) for name, items in values.items() if _is_numbers(TABLE[name])
    }
    return Config(**{**values, **numbers}, is_local=is_local)


def _is_numbers(row: Setting) -> bool:
    return row.is_list and row.kind is int


def _numbers(name: str, items: Sequence[str]) -> tuple[int, ...]:
    try:
        return tuple(map(int, items))
    except ValueError as error:
        raise UserError(
            f"--{name}={','.join(items)}: must be whole numbers, separated by commas"
        ) from error
