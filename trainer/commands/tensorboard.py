"""`graft tensorboard`: open TensorBoard on the curves of one or several runs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from trainer.launch import named_job
from trainer.launch.kubernetes.submitted import KubernetesJob
from trainer.process.errors import UserError
from trainer.process.tensorflow_import import import_tensorflow
from trainer.settings.command_line import (
    Flag,
    Groups,
    command,
    exit_process,
    parse_flags,
    usage,
)
from trainer.settings.locations import expand_home
from trainer.storage import api as storage
from trainer.workdir import paths, status

PURPOSE = "Open TensorBoard on the curves of a run, on this machine, until Ctrl-C."
SYNOPSIS = "graft tensorboard --workdir=DIR[,DIR…] | --job=NAME [flags]"
FLAGS: Groups = {
    "The run": (
        Flag("workdir", [], "directory of the run, local or gs://; several with commas", list),
        *named_job.JOB,
    ),
    "The page": (
        Flag("port", None, "port to listen on (6006, or the next that is free); 0: any", int),
        Flag(
            "host",
            "localhost",
            "address to listen on; there is no login: who reaches it can read it",
        ),
    ),
    "On Kubernetes": named_job.ON_KUBERNETES,
    "On Vertex AI": named_job.ON_VERTEX,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Show the curves that `argv` names until Ctrl-C; return the exit code."""
    return command(argv, _tensorboard, lambda: usage(SYNOPSIS, PURPOSE, FLAGS))


def _tensorboard(argv: Sequence[str]) -> int:
    values = parse_flags(argv, FLAGS)
    values["workdir"] = list(map(expand_home, values["workdir"]))
    if bool(values["workdir"]) == bool(values["job"]):
        raise UserError("--workdir, --job: give one of the two")
    port = values["port"]
    if port is not None and not 0 <= port < 2**16:
        raise UserError(f"--port={port}: must be from 0 to 65535")
    directories = [_logs_of_job(values)] if values["job"] else list(map(_logs, values["workdir"]))
    for workdir, directory in zip(values["workdir"], directories, strict=False):
        if "," in workdir or (len(directories) > 1 and ":" in directory.removeprefix("gs:")):
            raise UserError(f"--workdir={workdir}: TensorBoard cannot take it among several")
    arguments = [f"--host={values['host']}", *([] if port is None else [f"--port={port}"])]
    if any(map(storage.is_remote, directories)):
        # The fast reader supports few kinds of credentials, without which it ends, showing nothing.
        arguments.append("--load_fast=false")
    if len(directories) == 1:
        arguments.append(f"--logdir={directories[0]}")
    else:
        names = short_names(values["workdir"])
        pairs = zip(names, directories, strict=True)
        arguments.append(f"--logdir_spec={','.join(f'{name}:{path}' for name, path in pairs)}")
    print(f"curves     {_launch(arguments, values)}    (Ctrl-C ends it)", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print()
    return 0


def short_names(workdirs: Sequence[str]) -> list[str]:
    """Return the last part of each workdir, or as many parts as make all names distinct.

    Raises:
        UserError: a workdir is named twice.
    """
    parts = [PurePosixPath(workdir).parts for workdir in workdirs]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(path[-depth:]).strip("/") for path in parts]
        if len(set(names)) == len(names):
            return [name.replace(":", "") for name in names]
    raise UserError(f"--workdir={','.join(workdirs)}: names one twice")


def _logs(workdir: str) -> str:
    """Return the directory of event files of the run in `workdir`, or of the runs below it."""
    if status.settings(workdir):
        return paths.part(workdir, "logs")
    if not storage.list_names(workdir):
        raise UserError(f"--workdir={workdir}: there is no run")
    return workdir


def _logs_of_job(values: dict[str, Any]) -> str:
    job = named_job.find(values)
    if job.workdir_is_here:
        return job.workdir if job.is_study else storage.join(job.workdir, "logs")
    refusal = f"--job={values['job']}: its workdir {job.workdir} is on a claim of the cluster; "
    if isinstance(job, KubernetesJob) and (forward := job.forward_command()):
        raise UserError(f"{refusal}its own TensorBoard is reached by: {forward}")
    raise UserError(f"{refusal}submit it with --tensorboard, which shows it from there")


def _launch(arguments: Sequence[str], values: dict[str, Any]) -> str:
    """Start TensorBoard in threads of this process; return its address."""
    try:
        import_tensorflow()  # quietly, unlike TensorBoard's own import
        from tensorboard import program
    except ImportError as error:
        raise UserError(f"tensorboard: needs {error.name}: pip install tensorboard") from error
    server = program.TensorBoard()
    try:
        server.configure(argv=["tensorboard", *arguments])
        return str(server.launch())
    except program.TensorBoardServerException as error:
        where = f"--host={values['host']} --port={values['port'] or 6006}"
        raise UserError(f"{where}: {' '.join(str(error).split())}") from error


if __name__ == "__main__":
    exit_process(main())
