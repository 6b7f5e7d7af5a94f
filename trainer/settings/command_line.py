"""How every command reads its words: absl flags in groups, a short help, one clear refusal."""

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
        default: None where it has none.
        text: what it does, in a line.
        kind: str, int, float or bool; `list` for values separated by commas.
        choices: the values it takes, if they are few.
    """

    name: str
    default: Any
    text: str
    kind: type = str
    choices: tuple[str, ...] = ()


Groups = dict[str, tuple[Flag, ...]]


def parse(
    argv: Sequence[str], groups: Groups, behind: Groups | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Read `argv` (without the program's name): values by flag name, and what is no flag.

    `--flagfile=FILE` reads flags from a file, one a line.

    Args:
        argv: the words.
        groups: the flags that there are.
        behind: those of `graft train`, where they come after `--`.

    Raises:
        UserError: an unknown flag, or a value that is not of the flag's kind.
    """
    values = flags.FlagValues()
    values.set_gnu_getopt(True)  # flags may follow words
    for flag in _by_name(groups).values():
        _define(flag, values)
    try:
        words = values(["graft", *argv])[1:]
    except flags.UnrecognizedFlagError as error:
        raise UserError(_no_such_flag(error.flagname, groups, behind or {})) from error
    except flags.Error as error:
        raise UserError(f"{_reason(error, groups)} (--help lists the flags)") from error
    except ValueError as error:  # absl's own, and a flag file that is no text
        raise UserError(f"{error} (--help lists the flags)") from error
    except OSError as error:
        raise UserError(f"--flagfile={error.filename}: {error.strerror}") from error
    return {name: values[name].value for name in _by_name(groups)}, list(words)


def parse_flags(argv: Sequence[str], groups: Groups) -> dict[str, Any]:
    """The values by flag name, for a command that takes nothing but flags.

    Raises:
        UserError: as `parse` does, and for a word that is no flag.
    """
    values, words = parse(argv, groups)
    if words:
        raise UserError(f"{words[0]}: not a flag (--help lists the flags)")
    return values


def did_you_mean(given: str, known: Mapping[str, str]) -> str:
    """The hint at what is nearest to a mistyped word; empty where nothing is near.

    Args:
        given: the word.
        known: what it may have been meant to be, and how to write that to a person.
    """
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.7)
    return f"; did you mean {known[near[0]]}?" if near else ""


def usage(synopsis: str, purpose: str, groups: Groups) -> str:
    """The text of `--help`: what the command does, and its flags by group."""
    lines = [purpose, "", f"usage: {synopsis}"]
    for title, members in groups.items():
        lines += ["", title]
        for flag in members:
            lines += _usage_lines(flag)
    lines += ["", "--flagfile=FILE reads flags from a file, one a line."]
    return "\n".join(lines)


def word(flag: Flag, value: Any) -> str:
    """`flag` with `value`, as it is typed."""
    if flag.kind is bool:
        return f"--{'' if value else 'no'}{flag.name}"
    return f"--{flag.name}={','.join(value) if flag.kind is list else value}"


def command(
    argv: Sequence[str] | None, main: Callable[[Sequence[str]], int], help_text: Callable[[], str]
) -> int:
    """A command from its words to its exit code: `--help` is answered, errors become messages."""
    words = sys.argv[1:] if argv is None else argv

    def answer() -> int:
        if set(HELP) & set(words):
            print(help_text())
            code = 0
        else:
            code = main(words)
        sys.stdout.flush()  # here, where a reader that has gone is known for what it is
        return code

    return run(answer)


def run(main: Callable[[], int]) -> int:
    """Call `main` and turn what it raises into one message on stderr and an exit code."""
    try:
        return main()
    except GraftError as error:
        print(f"graft: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("graft: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # `graft … | head`: what is still buffered has no reader, and the exit must not try again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"graft: {where}{error.strerror or error}", file=sys.stderr)
        return UserError.exit_code


def exit_process(code: int) -> NoReturn:
    """End the process with `code`, now.

    Whatever a command leaves behind is closed and flushed by then. TensorFlow's threads are not
    waited for: taking its endless input pipelines down takes from two seconds to over ten.
    """
    _remove_generated()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _remove_generated() -> None:
    """Remove the source files of the functions that AutoGraph has rewritten.

    TensorFlow would do so in `atexit`, which `os._exit` leaves out; each is a module of its own.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith("__autograph_generated_file") and module.__file__:
            with contextlib.suppress(OSError):
                os.remove(module.__file__)


def _by_name(groups: Groups) -> dict[str, Flag]:
    return {flag.name: flag for group in groups.values() for flag in group}


def _no_such_flag(name: str, groups: Groups, behind: Groups) -> str:
    ours = {spelled: f"--{spelled}" for spelled in (*_spellings(groups), "flagfile", "help")}
    theirs = {spelled: f"--{spelled} after --" for spelled in _spellings(behind)}
    if name in theirs:
        return f"--{name}: flags of graft train come after -- (--help lists those before it)"
    hint = did_you_mean(name, {**theirs, **ours})
    return f"--{name}: no such flag{hint} (--help lists the flags)"


def _spellings(groups: Groups) -> list[str]:
    known = _by_name(groups).values()
    return [*(flag.name for flag in known), *(f"no{f.name}" for f in known if f.kind is bool)]


def _reason(error: flags.Error, groups: Groups) -> str:
    """What absl says; of a value that is not of its flag's kind, in Python's words, in ours."""
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
