"""`graft watch`: show the progress of a run, from its workdir or its job."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from trainer.launch import named_job
from trainer.launch.kubernetes.client import ApiUnreachable
from trainer.launch.vertex import state as vertex_state
from trainer.process.errors import GraftError, UserError
from trainer.settings.command_line import (
    Flag,
    Groups,
    command,
    exit_process,
    parse_flags,
    usage,
)
from trainer.settings.locations import expand_home
from trainer.workdir import status

PURPOSE = "Show the progress of a run: phase, step, accuracy, time left, its job's workers."
SYNOPSIS = "graft watch --workdir=DIR | --job=NAME [flags]"
FLAGS: Groups = {
    "The run": (Flag("workdir", "", "directory of the run, local or gs://"), *named_job.JOB),
    "On Kubernetes": named_job.ON_KUBERNETES,
    "On Vertex AI": named_job.ON_VERTEX,
    "How": (
        Flag("once", False, "show it once", bool),
        Flag("json", False, "as one JSON object a line", bool),
        Flag("every_secs", 5.0, "seconds between two updates", float),
        Flag("follow", False, "print the logs of the job's workers as they grow", bool),
        Flag(
            "tensorboard",
            False,
            "also TensorBoard on the curves, on this machine, until Ctrl-C",
            bool,
        ),
    ),
}

_API_TIMEOUT_SECS = 300.0  # a cluster's API may be unavailable during an upgrade


def main(argv: Sequence[str] | None = None) -> int:
    """Watch the run that `argv` names until it has ended; return the exit code."""
    return command(argv, _watch, lambda: usage(SYNOPSIS, PURPOSE, FLAGS))


def _watch(argv: Sequence[str]) -> int:
    values = parse_flags(argv, FLAGS)
    values["workdir"] = expand_home(values["workdir"])
    if bool(values["workdir"]) == bool(values["job"]):
        raise UserError("--workdir, --job: give one of the two")
    if not 0.1 <= values["every_secs"] <= 3600:
        raise UserError(f"--every_secs={values['every_secs']}: must be from 0.1 to 3600")
    if values["follow"] and (values["once"] or values["json"] or not values["job"]):
        raise UserError("--follow: needs --job, and is neither --once nor --json")
    job = named_job.find(values) if values["job"] else None
    if not values["tensorboard"]:
        return _until_ended(values["workdir"], job, values)
    with _tensorboard(values) as board:
        code = _until_ended(values["workdir"], job, values)
        board.wait()  # until Ctrl-C
        return code


def _until_ended(workdir: str, job: named_job.SubmittedJob | None, values: dict[str, Any]) -> int:
    with _screen(values) as show:
        follow = job.follow(_write) if values["follow"] and job is not None else None
        answered = time.monotonic()
        while True:
            try:
                # With --follow the chief's log has the progress.
                seen = status_of(workdir, job, time.time(), skip_workdir=values["follow"])
                if follow is not None:
                    follow()
                answered = time.monotonic()
            except ApiUnreachable:
                if values["once"] or time.monotonic() - answered > _API_TIMEOUT_SECS:
                    raise
                time.sleep(values["every_secs"])
                continue
            if values["once"] and _is_absent(seen):
                raise UserError(f"--workdir={workdir}: there is no run")
            show(seen)
            if values["once"] or _has_ended(seen):
                return 1 if seen.get("job", {}).get("phase") in ("failed", "cancelled") else 0
            time.sleep(values["every_secs"])


def status_of(
    workdir: str, job: named_job.SubmittedJob | None, now: float, skip_workdir: bool = False
) -> dict[str, Any]:
    """Return the state of the run, and of its job if --job names it, in JSON's types.

    Args:
        workdir: of a run without `job`.
        job: None for a run that --workdir names.
        now: seconds since 1970.
        skip_workdir: do not read the workdir.
    """
    if job is None:
        return {"run": status.read(workdir, now)}
    seen: dict[str, Any] = {"run": None, "job": job.status()}
    if job.workdir_is_here and not job.is_study and not skip_workdir:
        try:
            seen["run"] = status.read(job.workdir, now)
        except GraftError as error:  # readable jobs may have unreadable buckets
            seen["unread"] = str(error)
    return seen


def describe(seen: dict[str, Any]) -> list[str]:
    """Format what status_of returns as lines of text."""
    lines = []
    if job := seen.get("job"):
        why = f": {job['why']}" if job.get("why") else ""
        lines += [f"job        {job['name']} {job['phase']}{why}"]
        for worker in job["workers"]:
            again = f", restarted {worker['restarts']} times" if worker["restarts"] else ""
            lines += [f"worker {worker['index']:<3} {worker['state']}{again}"]
        lines += vertex_state.describe(job)
    if "unread" in seen:
        lines += [f"run        cannot be read from here: {seen['unread']}"]
    lines += status.describe(seen["run"]) if seen["run"] else []
    if _is_absent(seen):
        lines[-1] += "; waiting for it, Ctrl-C ends"
    return lines


def _is_absent(seen: dict[str, Any]) -> bool:
    """Return whether there is neither a run nor a job that may start one."""
    return "job" not in seen and seen["run"]["phase"] == "absent"


def _has_ended(seen: dict[str, Any]) -> bool:
    if "job" in seen:
        return seen["job"]["phase"] in named_job.ENDED
    return bool(seen["run"]["phase"] == "finished")


def _write(worker: str, line: str) -> None:
    print(f"{worker} │ {_message(line)}", flush=True)


def _message(line: str) -> str:
    """Extract the message from a JSON line of a log; see console.JsonReporter."""
    try:
        record = json.loads(line)
        kind = "" if record.get("severity", "INFO") == "INFO" else f"{record['severity'].lower()}: "
        return f"{kind}{record['message']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return line


@contextlib.contextmanager
def _screen(values: dict[str, Any]) -> Iterator[Any]:
    """Yield a function that shows a status: in place on a terminal, else as changed lines."""
    if values["json"] or values["once"] or values["follow"] or not sys.stdout.isatty():
        printed: list[str] = []

        def write(seen: dict[str, Any]) -> None:
            lines = [json.dumps(seen, ensure_ascii=False)] if values["json"] else describe(seen)
            if lines != printed:
                print("\n".join(line for line in lines if line not in printed), flush=True)
                printed[:] = lines

        yield write
        return
    from rich.live import Live
    from rich.text import Text

    with Live(Text(""), auto_refresh=False, vertical_overflow="visible") as live:
        yield lambda seen: live.update(Text("\n".join(describe(seen))), refresh=True)


@contextlib.contextmanager
def _tensorboard(values: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    """Run TensorBoard on the run's curves in a subprocess, which prints its address on stderr."""
    names = ("workdir", "job", "platform", "namespace", "context", "project", "region")
    arguments = [f"--{name}={values[name]}" for name in names if values[name]]
    program = [sys.executable, "-m", "trainer", "tensorboard", *arguments]
    with subprocess.Popen(program, stdout=sys.stderr) as process:
        try:
            yield process
        finally:
            process.terminate()


if __name__ == "__main__":
    exit_process(main())
