"""`graft watch`: how a run goes, from its workdir, and from its job on Kubernetes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from trainer import places, run_status
from trainer.command_line import Flag, Groups, command, exit_process, parse, usage
from trainer.errors import UserError
from trainer.launch import job_state, kubernetes_job
from trainer.launch.kubernetes_client import Cluster, Object

PURPOSE = "Show how a run goes: phase, step, accuracy, time left, and its workers on Kubernetes."
SYNOPSIS = "graft watch --workdir=DIR | --job=NAME [flags]"
FLAGS: Groups = {
    "The run": (
        Flag("workdir", "", "of the run, local or gs://"),
        Flag("job", "", "on Kubernetes: a Job or JobSet that `graft submit` has created"),
        Flag("namespace", "", "of the job; else the context's"),
        Flag("context", "", "of the kubeconfig; else its current one"),
    ),
    "How": (
        Flag("once", False, "show it once", bool),
        Flag("json", False, "as one JSON object a line", bool),
        Flag("every_secs", 5.0, "seconds between two looks", float),
        Flag(
            "tensorboard",
            False,
            "also TensorBoard on the curves, on this machine, until Ctrl-C",
            bool,
        ),
    ),
}

_ENDED = ("succeeded", "failed", "deleted")


def main(argv: Sequence[str] | None = None) -> int:
    """Watch the run that `argv` names until it has ended; returns the exit code."""
    return command(argv, _watch, lambda: usage(SYNOPSIS, PURPOSE, FLAGS))


def _watch(argv: Sequence[str]) -> int:
    values, words = parse(argv, FLAGS)
    if words:
        raise UserError(f"{words[0]}: not a flag (--help lists the flags)")
    if bool(values["workdir"]) == bool(values["job"]):
        raise UserError("--workdir, --job: give one of the two")
    if not 0.1 <= values["every_secs"] <= 3600:
        raise UserError(f"--every_secs={values['every_secs']}: must be from 0.1 to 3600")
    cluster = Cluster(values["context"], values["namespace"]) if values["job"] else None
    workdir = values["workdir"]
    if cluster is not None:
        workdir = _workdir(_job(cluster, values["job"]), values["job"])
    if not values["tensorboard"]:
        return _follow(workdir, cluster, values)
    with _tensorboard(workdir) as board:
        code = _follow(workdir, cluster, values)
        board.wait()  # until Ctrl-C
        return code


def _follow(workdir: str, cluster: Cluster | None, values: dict[str, Any]) -> int:
    with _screen(values) as show:
        while True:
            seen = look(workdir, cluster, values["job"], time.time())
            show(seen)
            if values["once"] or _has_ended(seen):
                return 1 if seen.get("job", {}).get("phase") == "failed" else 0
            time.sleep(values["every_secs"])


def look(workdir: str, cluster: Cluster | None, name: str, now: float) -> dict[str, Any]:
    """The state of the run, and of its job where there is a cluster, in JSON's types.

    Args:
        workdir: of the run.
        cluster: where its job is, or None.
        name: of the job.
        now: seconds since 1970.
    """
    # A claim is mounted within the cluster alone.
    is_here = cluster is None or not workdir.startswith("/")
    seen: dict[str, Any] = {"run": run_status.read(workdir, now) if is_here else None}
    if cluster is None:
        return seen
    job = _find(cluster, name)
    if job is None:
        return {**seen, "job": {"name": name, "phase": "deleted", "workers": []}}
    pods = cluster.pods(kubernetes_job.selector(job))
    workers = [
        {"index": index, "state": job_state.describe(pod), "restarts": job_state.restarts(pod)}
        for index, pod in job_state.newest(pods).items()
    ]
    phase = job_state.phase(job)
    why = job_state.failure(job) if phase == "failed" else None
    return {**seen, "job": {"name": name, "phase": phase, "why": why, "workers": workers}}


def describe(seen: dict[str, Any]) -> list[str]:
    """The same in lines for a person."""
    lines = []
    if job := seen.get("job"):
        why = f": {job['why']}" if job.get("why") else ""
        lines += [f"job        {job['name']} {job['phase']}{why}"]
        for worker in job["workers"]:
            again = f", restarted {worker['restarts']} times" if worker["restarts"] else ""
            lines += [f"worker {worker['index']:<3} {worker['state']}{again}"]
    return lines + (run_status.describe(seen["run"]) if seen["run"] else [])


def _has_ended(seen: dict[str, Any]) -> bool:
    if "job" in seen:
        return seen["job"]["phase"] in _ENDED
    return bool(seen["run"]["phase"] == "finished")


def _find(cluster: Cluster, name: str) -> Object | None:
    return cluster.get("Job", name) or cluster.get("JobSet", name)


def _job(cluster: Cluster, name: str) -> Object:
    job = _find(cluster, name)
    if job is None:
        raise UserError(f"--job={name}: there is none in namespace {cluster.namespace}")
    return job


def _workdir(job: Object, name: str) -> str:
    workdir = (job["metadata"].get("annotations") or {}).get(kubernetes_job.WORKDIR)
    if not workdir:
        raise UserError(f"--job={name}: was not created by `graft submit`")
    return str(workdir)


@contextlib.contextmanager
def _screen(values: dict[str, Any]) -> Iterator[Any]:
    """Shows what was seen: on a terminal in place, else in lines whenever it has changed."""
    if values["json"] or values["once"] or not sys.stdout.isatty():
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
def _tensorboard(workdir: str) -> Iterator[subprocess.Popen[bytes]]:
    """TensorBoard on the run's curves, on this machine alone: it has no login."""
    logs = places.part(workdir, "logs")
    words = ["--host=localhost", f"--logdir={logs}"]
    with subprocess.Popen([sys.executable, "-m", "tensorboard.main", *words]) as process:
        try:
            yield process
        finally:
            process.terminate()


if __name__ == "__main__":
    exit_process(main())
