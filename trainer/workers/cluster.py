"""Read the workers of a run from the flags or the environment. Pure.

The first source that is set wins:

    1 --worker_hosts and --task_index
    2 TF_CONFIG: Kubeflow's TFJob, Vertex AI, and everything made for TensorFlow
    3 CLUSTER_SPEC: Vertex AI
    4 JOB_COMPLETION_INDEX with GRAFT_JOB_NAME: an Indexed Job of Kubernetes
    5 JOB_COMPLETION_INDEX with JOBSET_NAME: a JobSet
    6 none of them: a single process

Formats: https://www.tensorflow.org/guide/distributed_training#TF_CONFIG,
https://cloud.google.com/vertex-ai/docs/training/distributed-training,
https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode,
https://jobset.sigs.k8s.io/docs/concepts/.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.process.errors import UserError
from trainer.workers.kubernetes_env import from_job

_ALL_REDUCE = "training here is an all-reduce between workers"
_REFUSED_ROLES = {
    "ps": f"{_ALL_REDUCE}, without parameter servers",
    "evaluator": f"{_ALL_REDUCE}, and the workers evaluate, each a part of the examples",
}


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers of a run, and the index of this one.

    Attributes:
        workers: "host:port" of each, the chief first.
        index: of this process.
        source: the flag or variable that this was read from.

    Raises:
        UserError: an address or the index is wrong; the message names the source.
    """

    workers: tuple[str, ...] = ("localhost:0",)
    index: int = 0
    source: str = "single"

    def __post_init__(self) -> None:
        if self.source != "single":
            for worker in self.workers:
                _check_address(worker, self.source)
        twice = sorted({w for w in self.workers if self.workers.count(w) > 1})
        if twice:
            raise UserError(f"{self.source}: {twice[0]} is listed twice; each worker has its own")
        if not 0 <= self.index < len(self.workers):
            raise UserError(
                f"{self.source}: the index {self.index} is not one of {len(self.workers)} "
                f"workers; it must be from 0 to {len(self.workers) - 1}"
            )

    @property
    def num_workers(self) -> int:
        """Number of training processes."""
        return len(self.workers)

    @property
    def is_distributed(self) -> bool:
        """Whether there is more than one worker."""
        return self.num_workers > 1

    @property
    def is_chief(self) -> bool:
        """Whether this process publishes the run's outputs."""
        return self.index == 0

    @property
    def is_kubernetes_job(self) -> bool:
        """Whether Kubernetes starts the workers; it never restarts one that exited with 0."""
        return self.source in ("JOB_COMPLETION_INDEX", "JOBSET_NAME")

    @property
    def address(self) -> str:
        """The "host:port" of this worker."""
        return self.workers[self.index]

    def name(self, index: int) -> str:
        """Return the name of a worker in messages."""
        role = "worker 0, the chief" if index == 0 else f"worker {index}"
        return f"{role} ({self.workers[index]})"

    def to_tf_config(self) -> str:
        """Return the TF_CONFIG for TensorFlow, where worker 0 is the chief, too."""
        task = {"type": "worker", "index": self.index}
        return json.dumps({"cluster": {"worker": list(self.workers)}, "task": task})


def read(
    environment: Mapping[str, str], worker_hosts: Sequence[str] = (), task_index: int | None = None
) -> Cluster:
    """Read the cluster from the flags, or else from the environment.

    Args:
        environment: `os.environ`, outside of tests.
        worker_hosts: `--worker_hosts`, "host:port" of each worker, the chief first.
        task_index: `--task_index`, the index of this one; None if not given.

    Raises:
        UserError: the description is incomplete or contradictory; the message names the part.
    """
    if worker_hosts or task_index is not None:
        if task_index is None:
            raise UserError("--worker_hosts: needs --task_index, which of them this process is")
        if not worker_hosts:
            raise UserError(f"--task_index={task_index}: needs --worker_hosts=HOST:PORT,…")
        return Cluster(tuple(worker_hosts), task_index, "--worker_hosts, --task_index")
    if environment.get("TF_CONFIG"):
        return _from_tf_config(environment["TF_CONFIG"])
    if environment.get("CLUSTER_SPEC"):
        return _from_cluster_spec(environment["CLUSTER_SPEC"])
    job = from_job(environment)
    return Cluster(*job) if job is not None else Cluster()


def host_and_port(address: str) -> tuple[str, int]:
    """Split an address into host and port; an IPv6 host is written in brackets.

    Raises:
        ValueError: it has no host, or no port from 1 to 65535.
    """
    host, _, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("an IPv6 address is written in brackets")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        raise ValueError("an address is HOST:PORT, with a port from 1 to 65535")
    return host, int(port)


def _from_tf_config(text: str) -> Cluster:
    config = _json_object("TF_CONFIG", text)
    if "sparseCluster" in config:
        raise UserError(
            "TF_CONFIG: sparseCluster names this worker alone (a TFJob's enableDynamicWorker), and "
            "an all-reduce needs them all; switch enableDynamicWorker off"
        )
    cluster = _part("TF_CONFIG", config, "cluster", dict)
    if not cluster:
        return Cluster()  # as in TensorFlow, `{}` is a single process
    task = _part("TF_CONFIG", config, "task", dict)
    role = _part("TF_CONFIG", task, "type", str, "task.")
    for refused, reason in _REFUSED_ROLES.items():
        if role == refused or cluster.get(refused):
            raise UserError(f"TF_CONFIG: has a task of type {refused!r}; {reason}")
    unknown = sorted({*cluster, role} - {"chief", "master", "worker", *_REFUSED_ROLES})
    if unknown:
        raise UserError(f"TF_CONFIG: type {unknown[0]!r}: must be 'chief' or 'worker'")
    index = _index("TF_CONFIG", task)
    addresses: list[str] = []
    worker_index = None
    for kind in ("chief", "master", "worker"):
        tasks = _tasks("TF_CONFIG", kind, cluster.get(kind, []))
        if kind != "worker" and len(tasks) > 1:
            raise UserError(f"TF_CONFIG: {len(tasks)} tasks of type {kind!r}; there must be one")
        if kind == role and index in tasks:
            worker_index = len(addresses) + list(tasks).index(index)
        addresses += tasks.values()
    if worker_index is None:
        raise UserError(f"TF_CONFIG: task {role} {index} is not in cluster.{role}")
    if list(_tasks("TF_CONFIG", "worker", cluster.get("worker", []))) == [index] != [0]:
        raise UserError(f"TF_CONFIG: cluster.worker names worker {index} alone; it must name all")
    return Cluster(tuple(addresses), worker_index, "TF_CONFIG")


def _from_cluster_spec(text: str) -> Cluster:
    spec = _json_object("CLUSTER_SPEC", text)
    cluster = _part("CLUSTER_SPEC", spec, "cluster", dict)
    task = _part("CLUSTER_SPEC", spec, "task", dict)
    pool = _part("CLUSTER_SPEC", task, "type", str, "task.")
    index = _index("CLUSTER_SPEC", task)
    if pool == "workerpool3" or cluster.get("workerpool3"):
        raise UserError(
            f"CLUSTER_SPEC: has a workerpool3, of evaluators; {_REFUSED_ROLES['evaluator']}"
        )
    # A pool 2 of reduction servers runs another image and does not concern workers.
    if pool == "workerpool2":
        raise UserError(f"CLUSTER_SPEC: this is workerpool2; {_REFUSED_ROLES['ps']}")
    primary = _tasks("CLUSTER_SPEC", "workerpool0", cluster.get("workerpool0", []))
    others = _tasks("CLUSTER_SPEC", "workerpool1", cluster.get("workerpool1", []))
    if len(primary) != 1:
        raise UserError(
            f"CLUSTER_SPEC: cluster.workerpool0 has {len(primary)} replicas; it must have one"
        )
    tasks = {"workerpool0": primary, "workerpool1": others}.get(pool, {})
    if index not in tasks:
        raise UserError(f"CLUSTER_SPEC: task {pool} {index} is not in cluster.{pool}")
    worker_index = list(tasks).index(index) + (pool == "workerpool1")
    return Cluster((*primary.values(), *others.values()), worker_index, "CLUSTER_SPEC")


def _json_object(source: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(f"{source}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise UserError(f"{source}: must be a JSON object, with cluster and task")
    return value


def _part(source: str, parent: dict[str, Any], name: str, kind: type, path: str = "") -> Any:
    if name not in parent and name != "cluster":
        raise UserError(f"{source}: {path}{name} is missing")
    value = parent.get(name, {})
    if not isinstance(value, kind):
        wanted = "an object" if kind is dict else "text"
        raise UserError(f"{source}: {path}{name} must be {wanted}, not {json.dumps(value)}")
    return value


def _index(source: str, task: dict[str, Any]) -> int:
    # Some launchers write it as text.
    if "index" not in task:
        raise UserError(f"{source}: task.index is missing")
    try:
        return int(str(task["index"]))
    except ValueError as error:
        raise UserError(
            f"{source}: task.index must be a whole number, not {json.dumps(task['index'])}"
        ) from error


def _tasks(source: str, kind: str, value: Any) -> dict[int, str]:
    """Return addresses by index, in order; a sparse map gives its indices explicitly."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value or [])
    try:
        return dict(sorted((int(key), str(address)) for key, address in pairs))
    except ValueError as error:
        raise UserError(f"{source}: cluster.{kind}: indices must be whole numbers") from error


def _check_address(address: str, source: str) -> None:
    try:
        host_and_port(address)
    except ValueError as error:
        raise UserError(f"{source}: {address!r}: {error}") from error
