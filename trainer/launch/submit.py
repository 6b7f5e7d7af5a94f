"""`graft submit`: start a run on a platform."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from absl import flags as absl_flags

from trainer.launch.request import Request, name_of
from trainer.process.errors import UserError
from trainer.settings import flags
from trainer.settings.command_line import (
    Flag,
    Groups,
    command,
    exit_process,
    parse,
    usage,
)
from trainer.workers import sharding

PURPOSE = "Start a run on Kubernetes or Vertex AI; the same command again resumes it."
SYNOPSIS = (
    "graft submit --platform=NAME --image=IMAGE [flags] -- --workdir=gs://… [flags of graft train]"
)

# A platform is a module with its own FLAGS and `submit(request, values)`, which returns the exit
# code; `values` are those of its FLAGS, by name.
PLATFORMS = {
    "kubernetes": "trainer.launch.kubernetes.platform",
    "vertex": "trainer.launch.vertex.platform",
}

FLAGS: Groups = {
    "The job": (
        Flag("platform", None, "where to run", choices=tuple(PLATFORMS)),
        Flag("image", "", "the container image that has the trainer"),
        Flag("name", "", "name of the job; else the last part of --workdir"),
        Flag("num_workers", 1, "processes that train", int),
        Flag("dry_run", None, "print the request instead of sending it", choices=("yaml", "json")),
        Flag("wait", False, "wait until the run has ended, and exit with its code", bool),
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Submit the run that `argv` describes; return the exit code."""
    return command(argv, _submit, lambda: usage(SYNOPSIS, PURPOSE, all_flags()))


def _submit(argv: Sequence[str]) -> int:
    platform = _platform(argv)
    module = importlib.import_module(PLATFORMS[platform])
    values, trainer_argv = parse(argv, {**FLAGS, **module.FLAGS}, flags.TRAINER)
    config = flags.config_from_argv(trainer_argv, is_local=False)
    _refuse_cluster_flags(config.worker_hosts, config.task_index)
    request = Request(
        config=config,
        # A --flagfile is on this machine: its contents are sent.
        trainer_argv=tuple(absl_flags.FlagValues().read_flags_from_files(trainer_argv)),
        image=values.pop("image"),
        name=values.pop("name") or name_of(config.workdir),
        num_workers=values.pop("num_workers"),
        dry_run=values.pop("dry_run") or "",
        wait=values.pop("wait"),
    )
    sharding.check(request.num_workers, config.logical_shards, config.global_batch_size)
    return int(module.submit(request, values))


def _platform(argv: Sequence[str]) -> str:
    """Return the platform of the command line, on which the other flags depend."""
    ours = list(argv[: argv.index("--")] if "--" in argv else argv)
    asked = [
        following if "=" not in argument else argument.partition("=")[2]
        for argument, following in zip(ours, [*ours, ""][1:], strict=True)
        if argument.partition("=")[0] in ("--platform", "-platform")
    ]
    if not asked:
        parse(argv, all_flags(), flags.TRAINER)  # a mistyped flag may be this one
    if not asked or asked[-1] not in PLATFORMS:
        given = f"={asked[-1]}" if asked else ""
        raise UserError(f"--platform{given}: must be one of {', '.join(PLATFORMS)}")
    return asked[-1]


def _refuse_cluster_flags(worker_hosts: Sequence[str], task_index: int | None) -> None:
    if worker_hosts or task_index is not None:
        raise UserError(
            "--worker_hosts, --task_index: are set by the cluster here; "
            "use --num_workers before the --"
        )


def all_flags() -> Groups:
    """Return the flags of `graft submit` and of every platform."""
    groups = dict(FLAGS)
    for name in PLATFORMS.values():
        groups.update(importlib.import_module(name).FLAGS)
    return groups


if __name__ == "__main__":
    exit_process(main())
