"""The group of all workers of a run: collectives, and starting and ending together."""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import socket
from collections.abc import Callable, Iterator, Mapping

from trainer.process import provenance
from trainer.process.errors import GraftError, PeerLost
from trainer.process.stop_signal import StopRequest
from trainer.settings.config import Config, without
from trainer.settings.setting import Scope
from trainer.workers import rendezvous, sharding
from trainer.workers.cluster import Cluster
from trainer.workers.heartbeat import Heartbeat


@dataclasses.dataclass
class WorkerGroup:
    """The workers and the connections to them; collectives of a single worker are local.

    Attributes:
        cluster: the workers.
        heartbeat: None if there is one worker.
    """

    cluster: Cluster = dataclasses.field(default_factory=Cluster)
    heartbeat: Heartbeat | None = None

    @property
    def is_chief(self) -> bool:
        """Whether this worker publishes the run's outputs."""
        return self.cluster.is_chief

    def owned_shards(self, num_logical_shards: int) -> range:
        """Return the logical shards that this worker trains on."""
        return sharding.owned_shards(
            num_logical_shards, self.cluster.num_workers, self.cluster.index
        )

    def owned_replicas(self, num_replicas: int) -> range:
        """Return the replicas of this worker."""
        return sharding.owned_replicas(num_replicas // self.cluster.num_workers, self.cluster.index)

    def all_reduce_sum(self, tag: str, **values: float) -> dict[str, float]:
        """Return the sums of `values` over all workers, which must all call this."""
        return values if self.heartbeat is None else self.heartbeat.all_reduce_sum(tag, **values)

    def all_gather(self, tag: str, facts: Mapping[str, str]) -> dict[str, str]:
        """Return the merged `facts` of all workers, which must all call this."""
        return dict(facts) if self.heartbeat is None else self.heartbeat.all_gather(tag, facts)

    def record_progress(self) -> None:
        """Reset the stall timeout."""
        if self.heartbeat is not None:
            self.heartbeat.record_progress()

    def expect_progress(self, is_expected: bool) -> None:
        """Enable or disable the stall timeout."""
        if self.heartbeat is not None:
            self.heartbeat.expect_progress(is_expected)

    def peer_lost(self, index: int | None, reason: str) -> PeerLost:
        """Return the error for worker `index`, None if unknown, that TensorFlow lost.

        Logs the stacks of all threads.
        """
        faulthandler.dump_traceback(all_threads=True)
        who = "another worker" if index is None else self.cluster.name(index)
        return PeerLost(f"{who}: lost or frozen, or the network is down ({reason})")

    def wait_for_all(self) -> None:
        """Wait at the final barrier until all workers are done."""
        if self.heartbeat is not None:
            self.heartbeat.close()

    @contextlib.contextmanager
    def propagating_errors(self) -> Iterator[None]:
        """End the other workers with the code and message of an error raised within."""
        try:
            yield
        except Exception as error:
            if self.heartbeat is not None:
                code = error.exit_code if isinstance(error, GraftError) else 1
                self.heartbeat.abort_all(code, str(error) or type(error).__name__)
            raise


def join_workers(
    config: Config,
    cluster: Cluster,
    port_socket: socket.socket | None,
    data: Mapping[str, str],
    stop: StopRequest,
    say: Callable[[str], None],
) -> WorkerGroup:
    """Connect all workers and compare their fingerprints; returns at once if there is one.

    Args:
        config: the run; most settings must be the same on all workers.
        cluster: the workers.
        port_socket: from rendezvous.reserve_port; None for a single worker.
        data: further fingerprint entries by name: digests, counts, class names.
        stop: polled while waiting.
        say: called with a message about the workers waited for.

    Raises:
        PeerLost: a worker did not join in time.
        UserError: the workers differ.
        Preempted: SIGTERM or Ctrl-C was received meanwhile.
    """
    if port_socket is None:
        return WorkerGroup(cluster)
    settings = {
        f"--{name}": str(value) for name, value in without(Scope.WORKER, config.to_dict()).items()
    }
    versions = {**provenance.versions(), "git_commit": str(provenance.git_commit())}
    heartbeat = rendezvous.join(
        cluster,
        port_socket,
        {**settings, **versions, **data},
        stop,
        say,
        config.rendezvous_timeout_secs,
        config.stall_timeout_secs,
    )
    return WorkerGroup(cluster, heartbeat)
