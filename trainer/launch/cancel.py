"""`graft cancel`: stop a job with a checkpoint, from which it can be resumed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

from trainer.launch import named_job
from trainer.process.errors import GraftError, UserError
from trainer.settings.command_line import (
    Flag,
    Groups,
    command,
    exit_process,
    parse_flags,
    usage,
)
from trainer.workdir import status

PURPOSE = "Stop a job of `graft submit`: its workers save a checkpoint, its workdir is kept."
SYNOPSIS = "graft cancel --job=NAME [flags]"
FLAGS: Groups = {
    "The job": (
        *named_job.JOB,
        Flag("wait", False, "wait until its workers have exited", bool),
    ),
    "On Kubernetes": named_job.ON_KUBERNETES,
    "On Vertex AI": named_job.ON_VERTEX,
}

POLL_SECS = 2.0
_STOP_TIMEOUT_SECS = 600.0


def main(argv: Sequence[str] | None = None) -> int:
    """Stop the job that `argv` names; return the exit code."""
    return command(argv, _cancel, lambda: usage(SYNOPSIS, PURPOSE, FLAGS))


def _cancel(argv: Sequence[str]) -> int:
    values = parse_flags(argv, FLAGS)
    if not values["job"]:
        raise UserError("--job: required; the name of the job to stop")
    job = named_job.find(values)
    phase = job.status()["phase"]
    if phase in named_job.ENDED:
        has = "is" if phase in ("cancelled", "deleted") else "has"
        raise UserError(f"--job={values['job']}: {has} {phase} already; there is nothing to stop")
    if phase == "ending":
        print(f"stopping   {job.title}: is being stopped already", flush=True)
    else:
        print(f"stopping   {job.title}: {job.stop()}", flush=True)
    if values["wait"]:
        _wait(job)
    print(f"kept       {job.workdir}")
    print(f"resume     graft submit … -- --workdir={job.workdir} …, the command that started it")
    return 0


def _wait(
    job: named_job.SubmittedJob,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    deadline = clock() + _STOP_TIMEOUT_SECS
    while (phase := job.status()["phase"]) not in named_job.ENDED:
        if clock() > deadline:
            raise UserError(
                f"{job.title}: is still {phase}, {_STOP_TIMEOUT_SECS:.0f} s after it was stopped; "
                "the same command waits on"
            )
        sleep(POLL_SECS)
    step = None
    if job.workdir_is_here and not job.is_study:
        with contextlib.suppress(GraftError):  # this machine may not read the bucket
            step = status.newest_checkpoint(job.workdir)[0]
    print(
        "stopped    " + ("all workers have left" if step is None else f"with step {step:,} saved")
    )


if __name__ == "__main__":
    exit_process(main())
