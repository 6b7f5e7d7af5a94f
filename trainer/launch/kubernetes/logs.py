"""What the workers of a job write, from all pods at once, as it is written."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone

from trainer.launch.kubernetes import state as job_state
from trainer.launch.kubernetes.client import ApiUnreachable, KubernetesApi, Object
from trainer.process.errors import UserError

MAX_FOLLOWED = 50  # workers; each is a connection, and the chief says what concerns all
_AGAIN_SECS = 1.0  # until a stream that broke is asked for again
_CLOCKS_DIFFER_SECS = 3600
_END_SECS = 20.0  # that the last lines of a job that has ended may take


class Logs:
    """Follows the log of each pod, once, from its first line to its last.

    Args:
        cluster: where.
        write: called as write("worker 0", line), by one thread at a time.
    """

    def __init__(self, cluster: KubernetesApi, write: Callable[[str, str], None]) -> None:
        self._cluster, self._write = cluster, write
        self._lock = threading.Lock()
        self._threads: dict[str, threading.Thread] = {}

    def look(self, pods: Sequence[Object]) -> None:
        """Begin with those of `pods` that have started, and were not followed so far.

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

    def _follow(self, pod: str, who: str) -> None:
        """Hand over the pod's lines. A connection that breaks is made anew, where it broke."""
        newest = ""  # the time of a line, as the cluster writes it
        while True:
            known = newest
            try:
                for text in self._cluster.log_lines(pod, _secs_since(known) if known else None):
                    newest, _, line = text.partition(" ")
                    # RFC 3339 in UTC with nanoseconds: as text it sorts as time does.
                    if newest > known:
                        with self._lock:
                            self._write(who, line)
                return
            except UserError as error:
                with self._lock:
                    self._write(who, f"(no log: {error})")
                return
            except ApiUnreachable:
                time.sleep(_AGAIN_SECS)


def _secs_since(moment: str) -> int:
    """More than the seconds since a time of RFC 3339: clocks differ; what is known is left out."""
    then = datetime.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return max(int(time.time() - then.timestamp()), 0) + _CLOCKS_DIFFER_SECS
