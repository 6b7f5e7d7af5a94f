"""Parse every command's arguments: absl flags in groups, a short help, one clear error."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from absl import flags

from trainer.process.errors import GraftError, UserError

_RULES = {int: "a whole number", float: "a number", bool: "true or false"}
HELP = ("--help", "-h", "-help", "--helpfull", "--helpshort")


@dataclasses.dataclass(frozen=True)
class Flag:
    """One flag.

    Attributes:
        name: as typed after `--`.
        default: None if there is none.
        text: one-line help.
        kind: str, int, float or bool; `list` for comma-separated values.
        choices: the allowed values, if they are few.
    """

    name: str
    default: Any
    text: str
    kind: type = str
    choices: tuple[str, ...] = ()


Groups = dict[str, tuple[Flag, ...]]


def parse(
    argv: Sequence[str], groups: Groups, trainer_flags: Groups | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Parse `argv` (without the program's name): values by flag name, and positional arguments.

    `--flagfile=FILE` reads flags from a file, one a line.

    Args:
        argv: the arguments.
        groups: the flags of the command.
        trainer_flags: those of `graft train`, if they may follow `--`.

    Raises:
        UserError: an unknown flag, or a value of the wrong type.
    """
    values = flags.FlagValues()
    values.set_gnu_getopt(True)  # flags may follow positional arguments
    for flag in _by_name(groups).values():
        _define(flag, values)
    try:
        positional = values(["graft", *argv])[1:]
    except flags.UnrecognizedFlagError as error:
        raise UserError(_no_such_flag(error.flagname, groups, trainer_flags or {})) from error
    except flags.Error as error:
        raise UserError(f"{_reason(error, groups)} (--help lists the flags)") from error
    except ValueError as error:  # absl's own, or a flag file that is not text
        raise UserError(f"{error} (--help lists the flags)") from error
    except OSError as error:
        raise UserError(f"--flagfile={error.filename}: {error.strerror}") from error
    return {name: values[name].value for name in _by_name(groups)}, list(positional)


def parse_flags(argv: Sequence[str], groups: Groups) -> dict[str, Any]:
    """Return values by flag name, for a command without positional arguments.

    Raises:
        UserError: see parse; also for a positional argument.
    """
    values, positional = parse(argv, groups)
    if positional:
        raise UserError(f"{positional[0]}: not a flag (--help lists the flags)")
    return values


def did_you_mean(given: str, known: Mapping[str, str]) -> str:
    """Suggest the nearest of `known` for a mistyped name; empty if none is near.

    Args:
        given: the name.
        known: how to display each valid name.
    """
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.7)
    return f"; did you mean {known[near[0]]}?" if near else ""


def usage(synopsis: str, purpose: str, groups: Groups) -> str:
    """Return the text of `--help`: what the command does, and its flags by group."""
    lines = [purpose, "", f"usage: {synopsis}"]
    for title, members in groups.items():
        lines += ["", title]
        for flag in members:
            lines += _usage_lines(flag)
    lines += ["", "--flagfile=FILE reads flags from a file, one a line."]
    return "\n".join(lines)


def argument(flag: Flag, value: Any) -> str:
    """Return the command-line argument that sets `flag` to `value`."""
    if flag.kind is bool:
        return f"--{'' if value else 'no'}{flag.name}"
    return f"--{flag.name}={','.join(value) if flag.kind is list else value}"


def command(
    argv: Sequence[str] | None, main: Callable[[Sequence[str]], int], help_text: Callable[[], str]
) -> int:
    """Run a command and return its exit code: handle `--help`, turn errors into messages."""
    arguments = sys.argv[1:] if argv is None else argv

    def main_or_help() -> int:
        if set(HELP) & set(arguments):
            print(help_text())
            code = 0
        else:
            code = main(arguments)
        sys.stdout.flush()  # here, where run handles a closed pipe
        return code

    return run(main_or_help)


def run(main: Callable[[], int]) -> int:
    """Call `main`; turn its errors into one message on stderr and an exit code."""
    try:
        return main()
    except GraftError as error:
        print(f"graft: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("graft: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # `graft … | head`: the interpreter must not flush the buffer to the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"graft: {where}{error.strerror or error}", file=sys.stderr)
        return UserError.exit_code


def exit_process(code: int) -> NoReturn:
    """End the process with `code` at once.

    All output files are closed by then. TensorFlow's threads are not joined: shutting its endless
    input pipelines down takes from two seconds to over ten.
    """
    _remove_generated()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _remove_generated() -> None:
    """Remove AutoGraph's generated source files, each loaded as a module.

    TensorFlow does so in `atexit`, which `os._exit` skips.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith("__autograph_generated_file") and module.__file__:
            with contextlib.suppress(OSError):
                os.remove(module.__file__)


def _by_name(groups: Groups) -> dict[str, Flag]:
    return {flag.name: flag for group in groups.values() for flag in group}


def _no_such_flag(name: str, groups: Groups, trainer_flags: Groups) -> str:
    own = {spelled: f"--{spelled}" for spelled in (*_spellings(groups), "flagfile", "help")}
    trainer = {spelled: f"--{spelled} after --" for spelled in _spellings(trainer_flags)}
    if name in trainer:
        return f"--{name}: flags of graft train come after -- (--help lists those before it)"
    hint = did_you_mean(name, {**trainer, **own})
    return f"--{name}: no such flag{hint} (--help lists the flags)"


def _spellings(groups: Groups) -> list[str]:
    known = _by_name(groups).values()
    return [*(flag.name for flag in known), *(f"no{f.name}" for f in known if f.kind is bool)]


def _reason(error: flags.Error, groups: Groups) -> str:
    """Return absl's message; for a value of the wrong type, the flag's rule instead."""
    given = re.match(r"flag --(\w+)=(.*): (could not conv|invalid literal|\('Non-bool)", str(error))
    flag = _by_name(groups).get(given[1]) if given else None
    if given is None or flag is None or flag.kind not in _RULES:
        return str(error).removeprefix("ERROR:: ")
    return f"--{flag.name}={given[2]}: must be {_RULES[flag.kind]}"


def _define(flag: Flag, values: flags.FlagValues) -> None:
    if flag.choices and flag.kind is str:
        flags.DEFINE_enum(flag.name, flag.default, flag.choices, flag.text, flag_values=values)
    elif flag.kind is bool:
        flags.DEFINE_boolean(flag.name, flag.default, flag.text, flag_values=values)
    elif flag.kind is int:
        flags.DEFINE_integer(flag.name, flag.default, flag.text, flag_values=values)
    elif flag.kind is float:
        flags.DEFINE_float(flag.name, flag.default, flag.text, flag_values=values)
    elif flag.kind is list:
        flags.DEFINE_list(flag.name, flag.default, flag.text, flag_values=values)
    else:
        flags.DEFINE_string(flag.name, flag.default, flag.text, flag_values=values)


def _usage_lines(flag: Flag) -> list[str]:
    if flag.kind is bool:
        head = f"--[no]{flag.name}"
        text = f"{flag.text} ({'on' if flag.default else 'off'})"
    else:
        default = ",".join(flag.default) if isinstance(flag.default, list) else flag.default
        head = f"--{flag.name}" + ("" if default in (None, "") else f"={default}")
        text = flag.text + (f": {' | '.join(flag.choices)}" if flag.choices else "")
    wrapped = textwrap.wrap(text, 62)
    first = f"  {head:<33} {wrapped[0]}"
    if len(head) > 33:
        return [f"  {head}", *(" " * 36 + line for line in wrapped)]
    return [first, *(" " * 36 + line for line in wrapped[1:])]
