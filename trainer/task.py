"""The trainer: `python -m trainer.task --workdir=DIR`, the module that Vertex AI users expect."""

from __future__ import annotations

import time
from collections.abc import Sequence

from trainer.loop import api
from trainer.process.console import make_reporter
from trainer.settings import flags
from trainer.settings.command_line import command, exit_process, usage
from trainer.storage.api import join
from trainer.workdir import finished, paths, score_table

FLAGS = flags.TRAINER
SYNOPSIS = "graft train --workdir=DIR [flags]    (also: python -m trainer.task)"


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the command line asks, and return the exit code."""
    return command(argv, _train, lambda: usage(SYNOPSIS, flags.PURPOSE, FLAGS))


def _train(argv: Sequence[str]) -> int:
    started = time.monotonic()
    config = flags.config_from_argv(argv)
    reporter = make_reporter(config.log_format, progress_secs=config.log_progress_secs)
    result = api.result(config, api.run(config, reporter, started, owns_process=True))
    evaluation = result.metrics["eval"]
    reporter.show(score_table.table(evaluation), **score_table.figures(evaluation))
    for confusion in score_table.worst_confusions(evaluation):
        reporter.say(f"mistakes   {confusion}")
    reporter.say(f"curves     tensorboard --logdir={paths.part(config.workdir, 'logs')}")
    model = f"model in {result.export}, " if result.export else ""
    figures = result.report or join(config.workdir, finished.METRICS_FILE)
    reporter.say(
        f"done       accuracy {result.accuracy:.4f} on {evaluation['num_examples']:,} "
        f"validation images; {model}{'report' if result.report else 'figures'} in {figures}",
        accuracy=result.accuracy,
        export=result.export,
        report=result.report,
    )
    return 0


if __name__ == "__main__":
    exit_process(main())
