"""The trainer: `python -m trainer.task --workdir=DIR`, the module that Vertex AI users expect."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from trainer.process.console import Voice, Warnings, voice
from trainer.process.tensorflow_import import import_tensorflow, uncollected
from trainer.settings import flags
from trainer.settings.command_line import command, exit_process, usage
from trainer.settings.config import Config
from trainer.storage.api import join
from trainer.workdir import finished, paths, score_table
from trainer.workers import cluster as clusters
from trainer.workers import rendezvous, sharding
from trainer.workers.cluster import Cluster

FLAGS = flags.TRAINER
SYNOPSIS = "graft train --workdir=DIR [flags]    (also: python -m trainer.task)"


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the command line says; returns the exit code."""
    return command(argv, _train, lambda: usage(SYNOPSIS, flags.PURPOSE, FLAGS))


def _train(argv: Sequence[str]) -> int:
    started = time.monotonic()
    config = flags.config_from_argv(argv)
    cluster = clusters.read(os.environ, config.worker_hosts, config.task_index)
    sharding.check(cluster.num_workers, config.logical_shards, config.global_batch_size)
    speaker = voice(config.log_format, progress_secs=config.log_progress_secs)
    if not cluster.is_chief:
        speaker = Warnings(speaker)
    ended = finished.before_meeting(config) if cluster.is_of_a_job else None
    if ended is not None:
        speaker.say(finished.said(config, ended["global_step"]))
    metrics = ended or _train_and_evaluate(config, speaker, started, cluster)
    evaluation = metrics["eval"]
    speaker.show(score_table.table(evaluation), **score_table.figures(evaluation))
    for confusion in score_table.worst_confusions(evaluation):
        speaker.say(f"mistakes   {confusion}")
    export = paths.part(config.workdir, "export") if config.export_formats else ""
    model = f"model in {export}, " if export else ""
    speaker.say(f"curves     tensorboard --logdir={paths.part(config.workdir, 'logs')}")
    has_page = config.report and finished.has_page(config, metrics)
    page = join(config.workdir, finished.PAGE) if has_page else ""
    figures = page or join(config.workdir, finished.METRICS)
    speaker.say(
        f"done       accuracy {evaluation['accuracy']:.4f} on {evaluation['num_examples']:,} "
        f"validation images; {model}{'report' if page else 'figures'} in {figures}",
        accuracy=evaluation["accuracy"],
        export=export,
        report=page,
    )
    return 0


def _train_and_evaluate(
    config: Config, speaker: Voice, started: float, cluster: Cluster
) -> dict[str, Any]:
    # Held from here on: the others see that this worker is coming.
    held = None
    if cluster.is_distributed:
        held = rendezvous.hold_port(cluster, os.environ.get(rendezvous.LISTENING_FD, ""))
    # TensorFlow takes seconds to import: a bad flag is named before.
    with uncollected():
        import_tensorflow()
        from trainer.loop.train import train_and_evaluate

    try:
        return train_and_evaluate(config, speaker, started, cluster, held)
    finally:
        speaker.close()


if __name__ == "__main__":
    exit_process(main())
