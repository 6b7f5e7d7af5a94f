"""Follow the logs of all pods of a job at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone

from trainer.launch.kubernetes import state as job_state
from trainer.launch.kubernetes.client import ApiUnreachable, KubernetesApi, Object
from trainer.process.errors import UserError

MAX_FOLLOWED = 50  # workers; each takes a connection, and the chief logs what concerns all
_AGAIN_SECS = 1.0  # before a broken stream is reopened
_CLOCKS_DIFFER_SECS = 3600
_END_SECS = 20.0  # for the last lines of an ended job


class Logs:
    """Follows the log of each pod, once, from its first line to its last.

    Args:
        cluster: of the pods.
        write: called as write("worker 0", line), by one thread at a time.
    """

    def __init__(self, cluster: KubernetesApi, write: Callable[[str, str], None]) -> None:
        self._cluster, self._write = cluster, write
        self._lock = threading.Lock()
        self._threads: dict[str, threading.Thread] = {}

    def update(self, pods: Sequence[Object]) -> None:
        """Start following those of `pods` that have started and are not followed yet.

        Returns when the logs of those that have ended are read.
        """
        for pod in pods:
            index, uid = job_state.index_of(pod), pod["metadata"]["uid"]
            if index >= MAX_FOLLOWED or uid in self._threads or not job_state.has_started(pod):
                continue
            arguments = (pod["metadata"]["name"], f"worker {index}")
            thread = threading.Thread(target=self._follow, args=arguments, daemon=True)
            self._threads[uid] = thread
            thread.start()
        deadline = time.monotonic() + _END_SECS
        for pod in pods:
            ended = job_state.exit_codes([pod])
            if ended and pod["metadata"]["uid"] in self._threads:
                left = max(deadline - time.monotonic(), 0.0)
                self._threads[pod["metadata"]["uid"]].join(left)

    def _follow(self, pod: str, source: str) -> None:
        """Pass on the pod's lines; reopen a broken connection where it broke."""
        newest = ""  # the time of a line, as the cluster writes it
        while True:
            known = newest
            try:
                for text in self._cluster.log_lines(pod, _secs_since(known) if known else None):
                    newest, _, line = text.partition(" ")
                    # RFC 3339 in UTC with nanoseconds: as text it sorts as time does.
                    if newest > known:
                        with self._lock:
                            self._write(source, line)
                return
            except UserError as error:
                with self._lock:
                    self._write(source, f"(no log: {error})")
                return
            except ApiUnreachable:
                time.sleep(_AGAIN_SECS)


def _secs_since(moment: str) -> int:
    """Return the seconds since a time of RFC 3339, and an hour, since clocks differ."""
    then = datetime.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return max(int(time.time() - then.timestamp()), 0) + _CLOCKS_DIFFER_SECS
