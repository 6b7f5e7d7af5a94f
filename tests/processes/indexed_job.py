"""A Job of the manifests, run here: stand-ins for the Job controller, the kubelet and the DNS.

Each worker is the real trainer in a network namespace of its own, with the environment, arguments
and host names that the manifest gives it. What happens when one ends is decided by the manifest's
own `podFailurePolicy`, `backoffLimitPerIndex`, `maxFailedIndexes` and `successPolicy`, as
https://kubernetes.io/docs/concepts/workloads/controllers/job/ says.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.processes import warm
from tests.processes.two_hosts import Entered
from trainer.launch.kubernetes import job as kubernetes_job

PROGRAM = """
from trainer import task
from trainer.settings.command_line import exit_process
exit_process(task.main())
"""  # as `python -m trainer.task`
BACKOFF_SECS = 0.5  # 10 s in a cluster; it doubles with each failure

Object = dict[str, Any]


def can_run() -> bool:
    """Whether network namespaces can be made here: by root, where nothing forbids it."""
    try:
        found = subprocess.run(["unshare", "--net", "--mount", "ip", "link"], capture_output=True)
    except FileNotFoundError:
        return False
    return found.returncode == 0


def action(spec: Object, exit_code: int, conditions: tuple[str, ...] = ()) -> str:
    """What the Job controller does with a pod that ended so, by the first rule that fits."""
    for rule in spec["podFailurePolicy"]["rules"]:
        wanted = [condition["type"] for condition in rule.get("onPodConditions", [])]
        codes = rule.get("onExitCodes", {"values": []})
        if set(wanted) & set(conditions) or exit_code in codes["values"]:
            return str(rule["action"])
    return "Count"


def environment(objects: list[Object], index: int) -> dict[str, str]:
    """What the trainer finds in worker `index`, as Kubernetes and JobSet set it."""
    job = next(item for item in objects if item["kind"] in kubernetes_job.RUN_KINDS)
    spec, name = kubernetes_job.spec_of(job), job["metadata"]["name"]
    labels = {"batch.kubernetes.io/job-name": name}
    if job["kind"] == "JobSet":
        labels = {
            "batch.kubernetes.io/job-name": f"{name}-workers-0",
            "jobset.sigs.k8s.io/jobset-name": name,
            "jobset.sigs.k8s.io/replicatedjob-name": "workers",
            "jobset.sigs.k8s.io/job-index": "0",
        }
    config = next(item for item in objects if item["kind"] == "ConfigMap")
    found = {**config["data"], "JOB_COMPLETION_INDEX": str(index)}
    for entry in spec["template"]["spec"]["containers"][0]["env"]:
        field = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath", "")
        found[entry["name"]] = labels[field.split("'")[1]] if field else entry["value"]
    return found


class IndexedJob:
    """The Job of `objects`, with two workers.

    Args:
        objects: as `graft submit` makes them.
        namespaces: one for each worker.
        directory: for what the pods are given, write and say.
        prepare: what a worker does first, by (worker, which of its pods).

    Attributes:
        exits: (worker, exit code, action) of each pod that has ended, in that order.
        failures: counted, by worker.
    """

    def __init__(
        self,
        objects: list[Object],
        namespaces: list[str],
        directory: Path,
        prepare: Mapping[tuple[int, int], warm.Preparation] = MappingProxyType({}),
    ) -> None:
        job = next(item for item in objects if item["kind"] == "Job")
        self.spec = kubernetes_job.spec_of(job)
        self.exits: list[tuple[int, int, str]] = []
        self.failures = [0] * len(namespaces)
        self._objects, self._namespaces, self._directory = objects, namespaces, directory
        self._prepare = prepare
        self._restarts = [0] * len(namespaces)
        self._due = [0.0] * len(namespaces)
        self._processes: dict[int, warm.Process] = {}
        self._succeeded: set[int] = set()
        self._evicted: set[int] = set()
        self._hosts = directory / "hosts"
        service = next(item for item in objects if item["metadata"]["name"] == "graft-workers")
        name = f"{job['metadata']['name']}-{{0}}.{service['metadata']['name']}"
        lines = [f"{_address(index)} {name.format(index)}\n" for index in range(len(namespaces))]
        self._hosts.write_text("127.0.0.1 localhost\n" + "".join(lines))

    def log(self, index: int) -> str:
        """What a worker has said, in all its pods."""
        path = self._directory / f"{index}.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def send(self, index: int, number: signal.Signals, evict: bool = False) -> None:
        """A signal to a worker; with `evict` its pod has the condition DisruptionTarget."""
        if evict:
            self._evicted.add(index)
        self._processes[index].send_signal(number)

    def poll(self) -> str:
        """Let the controller look once: `running`, `succeeded` or `failed`."""
        for index in range(len(self._namespaces)):
            process = self._processes.get(index)
            if process is None and index not in self._succeeded:
                if time.monotonic() >= self._due[index]:
                    self._start(index)
            elif process is not None and process.poll() is not None:
                del self._processes[index]
                if not self._ended(index, process.wait()):
                    return "failed"
        if self._succeeded >= {0}:  # the manifest's successPolicy
            return "succeeded"
        return "running"

    def lose_chief_after_the_end(self) -> None:
        """Let worker 0 be started again, and all others have succeeded."""
        self._processes.clear()
        self._succeeded = set(range(1, len(self._namespaces)))
        self._due[0] = 0.0

    def close(self) -> None:
        """End what is left."""
        for process in self._processes.values():
            process.kill()
            process.wait()

    def _ended(self, index: int, code: int) -> bool:
        """Whether the Job goes on after a pod has ended."""
        code = 128 - code if code < 0 else code
        if code == 0:
            self._succeeded.add(index)
            self.exits.append((index, 0, "done"))
            return True
        conditions = ("DisruptionTarget",) if index in self._evicted else ()
        self._evicted.discard(index)
        decided = action(self.spec, code, conditions)
        self.exits.append((index, code, decided))
        self._restarts[index] += 1
        self._due[index] = time.monotonic() + BACKOFF_SECS * 2 ** (self._restarts[index] - 1)
        if decided == "Count":
            self.failures[index] += 1
        is_lost = self.failures[index] > self.spec["backoffLimitPerIndex"]
        return decided != "FailJob" and not (is_lost and self.spec["maxFailedIndexes"] == 0)

    def _start(self, index: int) -> None:
        container = self.spec["template"]["spec"]["containers"][0]
        words = [word.replace("$$", "$") for word in container["args"]]
        own = environment(self._objects, index)
        # The volumes of the pod: the claim, the cache and /tmp.
        runs, cache = str(self._directory / "runs"), os.path.expanduser("~/.cache/graft")
        words = [word.replace("=/runs/", f"={runs}/") for word in words]
        own |= {"GRAFT_CACHE_DIR": cache, "HOME": str(self._directory)}
        prepare = self._prepare.get((index, self._restarts[index]))
        with open(self._directory / f"{index}.log", "ab") as log:
            self._processes[index] = warm.Process(
                words,
                log,
                log,
                {**os.environ, **own},
                prepare=Entered(self._namespaces[index], str(self._hosts), prepare),
                program=PROGRAM,
            )


@contextlib.contextmanager
def network() -> Iterator[list[str]]:
    """Two network namespaces that reach each other and nothing else."""
    names = [f"graft-{os.getpid()}-{index}" for index in (0, 1)]
    try:
        for name in names:
            _ip("netns", "add", name)
        _ip("link", "add", "g0", "netns", names[0], "type", "veth", "peer", "g1", "netns", names[1])
        for index, name in enumerate(names):
            _ip("-n", name, "address", "add", f"{_address(index)}/24", "dev", f"g{index}")
            for device in ("lo", f"g{index}"):
                _ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def _address(index: int) -> str:
    return f"10.77.7.{index + 1}"


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, (words, done.stderr)
