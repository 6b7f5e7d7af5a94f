"""What can end a run, and the table of exit codes, which tell a scheduler what to restart."""

from __future__ import annotations

import dataclasses
import enum


class Restart(enum.Enum):
    """What a scheduler, or `graft launch`, does with a worker that has left with a code."""

    NONE = "it is not started again"
    USELESS = "no restart can help: the run has failed"
    COUNTED = "it is started again, a limited number of times"
    FREE = "it is started again: nothing is wrong with it"


@dataclasses.dataclass(frozen=True)
class ExitCode:
    """A row of the table: a process's exit status, what it means, and what to do."""

    code: int
    meaning: str
    restart: Restart


EXIT_CODES = {
    row.code: row
    for row in (
        ExitCode(0, "done", Restart.NONE),
        ExitCode(1, "a bug, or training diverged; the log says which", Restart.USELESS),
        ExitCode(
            2,
            "the input is wrong; the log names the flag or file, the value and the rule",
            Restart.USELESS,
        ),
        ExitCode(130, "stopped by Ctrl-C; the checkpoint is saved", Restart.NONE),
        ExitCode(137, "killed: out of memory, or not gone in time after SIGTERM", Restart.COUNTED),
        ExitCode(
            138,
            "another worker was lost, a bucket no longer answers, or nothing moved",
            Restart.FREE,
        ),
        ExitCode(143, "stopped by SIGTERM; the checkpoint is saved", Restart.FREE),
    )
}


def meaning(code: int) -> str:
    """What it means that a worker left with `code`."""
    row = EXIT_CODES.get(code)
    return "a crash; the log may say more" if row is None else row.meaning


class GraftError(Exception):
    """The base of all errors that end a run with one message instead of a traceback.

    Attributes:
        exit_code: the process's exit status; TFJob's `ExitCode` policy retries codes >= 128.
    """

    exit_code = 1


class UserError(GraftError):
    """The input is wrong (flag, data, backbone, bucket, cluster): retrying cannot help.

    The message names the flag, file, worker or bucket, the value, and the rule it breaks.
    """

    exit_code = 2


class Diverged(GraftError):
    """The loss is not finite, again after one roll-back to a checkpoint."""

    exit_code = 1


class PeerLost(GraftError):
    """Another worker is gone or nothing moves; nothing is wrong here. The whole gang restarts."""

    exit_code = 138


class StorageUnreachable(GraftError):
    """A bucket no longer answers; nothing is wrong here, and what is published is whole."""

    exit_code = 138


class Preempted(GraftError):
    """SIGTERM was received and the checkpoint is saved; resume when there is room again."""

    exit_code = 143


class ExportMismatch(GraftError):
    """The exported model, loaded anew, does not score what the trained model scored."""

    exit_code = 1
