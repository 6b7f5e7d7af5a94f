"""`graft compare`: several runs on one page."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.process.errors import UserError
from trainer.settings.command_line import Flag, Groups, command, parse, usage
from trainer.settings.locations import expand_home
from trainer.storage import api as storage

SYNOPSIS = "graft compare RUN RUN ... [--output=FILE]"
PURPOSE = (
    "Compare runs on one page: figures, curves, settings, and images that the runs disagree on."
)
FLAGS: Groups = {"Flags": (Flag("output", "compare.html", "the page, local or gs://"),)}


def main(argv: Sequence[str] | None = None) -> int:
    """Compare the runs that `argv` names; return the exit code."""
    return command(argv, _main, lambda: usage(SYNOPSIS, PURPOSE, FLAGS))


def _main(argv: Sequence[str]) -> int:
    values, workdirs = parse(argv, FLAGS)
    if len(workdirs) < 2:
        raise UserError("compare: name two runs or more")
    if not values["output"]:
        raise UserError("--output=: must be a file")
    output = expand_home(values["output"])
    from trainer.report import comparison, page

    runs = [comparison.read(workdir) for workdir in workdirs]
    found = comparison.build(runs)
    text = page.comparison(found)
    storage.write_atomically(output, text.encode("utf-8", "replace"))
    examples = found["examples"]
    summary = "no validation images in common"
    if common := examples["num_common"]:
        changed = examples["num_changed"]
        summary = f"{changed:,} of {common:,} validation images differ in correctness"
    print(f"{len(runs)} runs, {summary}; page in {output}")
    return 0
