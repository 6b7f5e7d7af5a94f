"""Errors that end a run, and the exit codes that tell a scheduler what to restart."""

from __future__ import annotations

import dataclasses
import enum


class Restart(enum.Enum):
    """What a scheduler, or `graft launch`, does with a worker that exited with a code."""

    NONE = "not restarted"
    USELESS = "not restarted: a restart cannot help"
    COUNTED = "restarted a limited number of times"
    FREE = "always restarted: nothing is wrong with it"


@dataclasses.dataclass(frozen=True)
class ExitCode:
    """A row of the table: exit status, meaning, restart policy."""

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
        ExitCode(137, "killed: out of memory, or too slow to exit after SIGTERM", Restart.COUNTED),
        ExitCode(
            138,
            "another worker was lost, a bucket stopped responding, or training stalled",
            Restart.FREE,
        ),
        ExitCode(143, "stopped by SIGTERM; the checkpoint is saved", Restart.FREE),
    )
}


def meaning(code: int) -> str:
    """Return the meaning of exit status `code`."""
    row = EXIT_CODES.get(code)
    return "a crash; see the log" if row is None else row.meaning


class GraftError(Exception):
    """Base of all errors that end a run with one message instead of a traceback.

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
    """The loss is not finite, again after one rollback to a checkpoint."""

    exit_code = 1


class PeerLost(GraftError):
    """Another worker exited or training stalled; nothing is wrong here. All workers restart."""

    exit_code = 138


class StorageUnreachable(GraftError):
    """A bucket does not respond; nothing is wrong here, and published files are complete."""

    exit_code = 138


class Preempted(GraftError):
    """SIGTERM was received and the checkpoint is saved; resume when capacity is back."""

    exit_code = 143


class ExportMismatch(GraftError):
    """The reloaded export does not reproduce the trained model's scores."""

    exit_code = 1
