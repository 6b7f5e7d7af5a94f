"""`graft rehearse`: run the rehearsal of trainer.launch, with TensorFlow to compare weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainer.launch.local import rehearse
from trainer.launch.local.rehearse import FLAGS, PURPOSE, SYNOPSIS
from trainer.settings.command_line import command, exit_process, usage

if TYPE_CHECKING:
    import numpy as np


def main(argv: Sequence[str] | None = None) -> int:
    """Rehearse the run that `argv` describes; return the exit code."""
    return command(
        argv,
        lambda arguments: rehearse.rehearse(arguments, _newest_tensors),
        lambda: usage(SYNOPSIS, PURPOSE, FLAGS),
    )


def _newest_tensors(directory: str) -> tuple[int, dict[str, np.ndarray]]:
    from trainer.process.tensorflow_import import import_tensorflow

    import_tensorflow()  # after all workers: a process with its threads cannot fork safely
    from trainer.engine.checkpoints import newest_tensors

    return newest_tensors(directory)


if __name__ == "__main__":
    exit_process(main())
