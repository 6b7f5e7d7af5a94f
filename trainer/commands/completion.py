"""`graft completion`: complete commands and flags in a shell, through argcomplete."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.launch import submit
from trainer.process.errors import UserError
from trainer.settings import flags
from trainer.settings.command_line import Flag, Groups, command, exit_process, parse, usage

SHELLS = ("bash", "zsh")
FLAGS: Groups = {}
SYNOPSIS = 'graft completion SHELL    (in ~/.bashrc: eval "$(graft completion bash)")'
PURPOSE = "Print the code with which bash or zsh completes commands, flags and their values."


def main(argv: Sequence[str] | None = None) -> int:
    """Print the shell's code; return the exit code."""
    return command(argv, _main, lambda: usage(SYNOPSIS, PURPOSE, FLAGS))


def _main(argv: Sequence[str]) -> int:
    import argcomplete

    shell = " ".join(parse(argv, FLAGS)[1])
    if shell not in SHELLS:
        raise UserError(f"completion {shell}: must be one of {', '.join(SHELLS)}")
    print(argcomplete.shellcode(["graft"], shell=shell))
    return 0


def complete(commands: Mapping[str, tuple[str, str]]) -> None:
    """Print the completions of the line in COMP_LINE, and end the process.

    Args:
        commands: module and purpose by name.
    """
    import argcomplete

    before, dashes, after = os.environ["COMP_LINE"].partition(" -- ")
    asked = [*before.split(), ""][1]
    if dashes:  # after which argcomplete expects no more flags
        os.environ["COMP_LINE"] = line = f"graft {asked} {after}"
        os.environ["COMP_POINT"] = str(len(line))
    parser = argparse.ArgumentParser(add_help=False)
    parsers = parser.add_subparsers()
    for name, (module, purpose) in commands.items():
        one = parsers.add_parser(name, help=purpose, add_help=False)
        if name == asked:
            for flag in _flags(module, bool(dashes)).values():
                _add(flag, one)
    argcomplete.autocomplete(parser)


def _flags(module: str, after_dashes: bool) -> dict[str, Flag]:
    found = importlib.import_module(module)
    groups = submit.all_flags() if found is submit else found.FLAGS
    groups = flags.TRAINER if after_dashes else groups
    return {flag.name: flag for group in groups.values() for flag in group}


def _add(flag: Flag, parser: argparse.ArgumentParser) -> None:
    names = [f"--{flag.name}"]
    options: dict[str, Any] = {"choices": flag.choices or None}
    if flag.kind is bool:
        names, options = [*names, f"--no{flag.name}"], {"action": "store_true"}
    parser.add_argument(*names, help=flag.text, **options)


if __name__ == "__main__":
    exit_process(main())
