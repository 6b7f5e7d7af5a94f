"""`graft watch`: how a run goes, from its workdir, and from its job where it has one."""

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

PURPOSE = "Show how a run goes: phase, step, accuracy, time left, and the workers of its job."
SYNOPSIS = "graft watch --workdir=DIR | --job=NAME [flags]"
FLAGS: Groups = {
    "The run": (Flag("workdir", "", "directory of the run, local or gs://"), *named_job.JOB),
    "On Kubernetes": named_job.ON_KUBERNETES,
    "On Vertex AI": named_job.ON_VERTEX,
    "How": (
        Flag("once", False, "show it once", bool),
        Flag("json", False, "as one JSON object a line", bool),
        Flag("every_secs", 5.0, "seconds between two looks", float),
        Flag("follow", False, "what the workers of a job write, as they write it", bool),
        Flag(
            "tensorboard",
            False,
            "also TensorBoard on the curves, on this machine, until Ctrl-C",
            bool,
        ),
    ),
}

_PATIENCE_SECS = 300.0  # a cluster's API may be away for an upgrade


def main(argv: Sequence[str] | None = None) -> int:
    """Watch the run that `argv` names until it has ended; returns the exit code."""
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
        hear = job.follow(_write) if values["follow"] and job is not None else None
        answered = time.monotonic()
        while True:
            try:
                # With --follow the chief says how the run is.
                seen = status_of(workdir, job, time.time(), of_job_alone=values["follow"])
                if hear is not None:
                    hear()
                answered = time.monotonic()
            except ApiUnreachable:
                if values["once"] or time.monotonic() - answered > _PATIENCE_SECS:
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
    workdir: str, job: named_job.SubmittedJob | None, now: float, of_job_alone: bool = False
) -> dict[str, Any]:
    """The state of the run, and of its job where it is known by that, in JSON's types.

    Args:
        workdir: of the run; that of `job` where there is one.
        job: None for a run that is known by its workdir.
        now: seconds since 1970.
        of_job_alone: leave the workdir unread.
    """
    if job is None:
        return {"run": status.read(workdir, now)}
    seen: dict[str, Any] = {"run": None, "job": job.status()}
    if job.workdir_is_here and not job.is_study and not of_job_alone:
        try:
            seen["run"] = status.read(job.workdir, now)
        except GraftError as error:  # who may look at the job may have no right to the bucket
            seen["unread"] = str(error)
    return seen


def describe(seen: dict[str, Any]) -> list[str]:
    """The same in lines for a person."""
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
    """Whether there is neither a run nor a job that may begin one."""
    return "job" not in seen and seen["run"]["phase"] == "absent"


def _has_ended(seen: dict[str, Any]) -> bool:
    if "job" in seen:
        return seen["job"]["phase"] in named_job.ENDED
    return bool(seen["run"]["phase"] == "finished")


def _write(who: str, line: str) -> None:
    print(f"{who} │ {_message(line)}", flush=True)


def _message(line: str) -> str:
    """What a worker says, of a line of its log in JSON; see console.JsonReporter."""
    try:
        said = json.loads(line)
        kind = "" if said.get("severity", "INFO") == "INFO" else f"{said['severity'].lower()}: "
        return f"{kind}{said['message']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return line


@contextlib.contextmanager
def _screen(values: dict[str, Any]) -> Iterator[Any]:
    """Shows what was seen: on a terminal in place, else in lines whenever it has changed."""
    if values["json"] or values["once"] or values["follow"] or not sys.stdout.isatty():
        said: list[str] = []

        def write(seen: dict[str, Any]) -> None:
            lines = [json.dumps(seen, ensure_ascii=False)] if values["json"] else describe(seen)
            if lines != said:
                print("\n".join(line for line in lines if line not in said), flush=True)
                said[:] = lines

        yield write
        return
    from rich.live import Live
    from rich.text import Text

    with Live(Text(""), auto_refresh=False, vertical_overflow="visible") as live:
        yield lambda seen: live.update(Text("\n".join(describe(seen))), refresh=True)


@contextlib.contextmanager
def _tensorboard(values: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    """TensorBoard on the run's curves, in a process of its own; it says its address on stderr."""
    names = ("workdir", "job", "platform", "namespace", "context", "project", "region")
    words = [f"--{name}={values[name]}" for name in names if values[name]]
    program = [sys.executable, "-m", "trainer", "tensorboard", *words]
    with subprocess.Popen(program, stdout=sys.stderr) as process:
        try:
            yield process
        finally:
            process.terminate()


if __name__ == "__main__":
    exit_process(main())
