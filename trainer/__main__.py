"""`graft <command>`, also `python -m trainer <command>`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import trainer
from trainer.settings.command_line import HELP, did_you_mean, exit_process

# A command is a module with `main(argv)`, imported when it runs.
COMMANDS = {
    "train": ("trainer.task", "train a classifier; the same command again resumes"),
    "doctor": ("trainer.commands.doctor", "find problems before a run, and how to fix them"),
    "predict": (
        "trainer.commands.predict",
        "classify files, folders or globs with an exported model",
    ),
    "compare": ("trainer.commands.compare", "compare runs on one page"),
    "launch": ("trainer.launch.local.launch", "train with many workers on this machine"),
    "rehearse": ("trainer.commands.rehearse", "kill, freeze and stop workers of a small run"),
    "submit": ("trainer.launch.submit", "start a run on Kubernetes or Vertex AI"),
    "watch": (
        "trainer.commands.watch",
        "show a run's progress, here or on a cluster; follow its logs",
    ),
    "cancel": ("trainer.launch.cancel", "stop a job, with a checkpoint to resume from"),
    "tensorboard": (
        "trainer.commands.tensorboard",
        "open TensorBoard on the curves of one or more runs",
    ),
    "pack": ("trainer.commands.pack", "write any data set as sharded TFRecords in TFDS format"),
    "completion": ("trainer.commands.completion", "set up shell completion of commands and flags"),
}


def console_script() -> None:
    """Run the installed `graft`, and end the process."""
    if "_ARGCOMPLETE" in os.environ:  # the shell completes a line; see `graft completion`
        importlib.import_module("trainer.commands.completion").complete(COMMANDS)
    exit_process(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` names, and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in HELP:
        print((trainer.__doc__ or "").partition("\n")[0])
        print("\nusage: graft <command> [flags]    (graft <command> --help lists the flags)\n")
        for name, (_, purpose) in COMMANDS.items():
            print(f"  {name:<12} {purpose}")
        return 0
    if argv[0] == "--version":
        print(f"graft {trainer.__version__}")
        return 0
    if argv[0] not in COMMANDS:
        hint = did_you_mean(argv[0], {name: name for name in (*COMMANDS, "--version", "--help")})
        print(f"graft: {argv[0]}: no such command{hint} (graft --help lists them)", file=sys.stderr)
        return 2
    return importlib.import_module(COMMANDS[argv[0]][0]).main(argv[1:])


if __name__ == "__main__":
    console_script()
