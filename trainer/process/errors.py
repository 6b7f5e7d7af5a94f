"""What can end a run, each with the exit code that tells a scheduler who must retry."""


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
