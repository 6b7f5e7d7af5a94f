"""`graft doctor`: find what would fail or slow a run, before it starts."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from trainer.process.errors import UserError
from trainer.process.tensorflow_import import import_tensorflow
from trainer.settings import flags
from trainer.settings.command_line import (
    Flag,
    Groups,
    command,
    exit_process,
    parse_flags,
    usage,
)

PURPOSE = (
    "Check the machine, the data, the backbone, the workdir and the other workers before a run:\n"
    "what each finding costs, and the command that fixes it. Exits with 2 if the run would fail."
)
SYNOPSIS = "graft doctor --workdir=DIR [flags of graft train] [--json]"
FLAGS: Groups = {
    "The report": (Flag("json", False, "print the findings as JSON, all else on stderr", bool),),
    **flags.TRAINER,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Check the run that `argv` describes; return the exit code."""
    return command(argv, _examine, lambda: usage(SYNOPSIS, PURPOSE, FLAGS))


def _examine(argv: Sequence[str]) -> int:
    from trainer.commands.checkup.finding import exit_code, show, to_json

    as_json = any(argument in ("--json", "-json") for argument in argv)
    findings = _findings(argv, as_json)
    if as_json:
        print(json.dumps(to_json(findings), indent=2, ensure_ascii=False))
    else:
        show(findings, sys.stdout)
    return exit_code(findings)


def _findings(argv: Sequence[str], as_json: bool) -> list[Any]:
    from trainer.commands.checkup.finding import ERROR, Finding

    try:
        values = parse_flags(argv, FLAGS)
        del values["json"]
        config = flags.config_from_values(values)
    except UserError as error:
        return [Finding("command", "settings", ERROR, str(error), "the run does not start")]
    import_tensorflow()
    from trainer.commands.checkup.examination import examine
    from trainer.process.console import make_reporter

    reporter = make_reporter(config.log_format, sys.stderr if as_json else sys.stdout)
    try:
        return examine(config, _without_json(argv), os.environ, reporter.advance)
    finally:
        reporter.close()


def _without_json(argv: Sequence[str]) -> list[str]:
    own = ("--json", "-json", "--nojson", "-nojson")
    return [argument for argument in argv if argument.partition("=")[0] not in own]


if __name__ == "__main__":
    exit_process(main())
