"""All workers of a run as one: what they agree on, and how they come and go together."""

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
    """Those who train, and the connection to them; alone, this process agrees with itself.

    Attributes:
        cluster: who they are.
        heartbeat: None where there is one worker.
    """

    cluster: Cluster = dataclasses.field(default_factory=Cluster)
    heartbeat: Heartbeat | None = None

    @property
    def is_chief(self) -> bool:
        """Whether this worker publishes what the run makes."""
        return self.cluster.is_chief

    def owned_shards(self, num_logical_shards: int) -> range:
        """The logical shards that this worker reads in training."""
        return sharding.owned_shards(
            num_logical_shards, self.cluster.num_workers, self.cluster.index
        )

    def owned_replicas(self, num_replicas: int) -> range:
        """Which of all replicas are this worker's."""
        return sharding.owned_replicas(num_replicas // self.cluster.num_workers, self.cluster.index)

    def agree(self, about: str, **values: float) -> dict[str, float]:
        """The sums of `values` over all workers, which must all have come here."""
        return values if self.heartbeat is None else self.heartbeat.agree(about, **values)

    def union(self, about: str, facts: Mapping[str, str]) -> dict[str, str]:
        """The `facts` of all workers, which must all have come here."""
        return dict(facts) if self.heartbeat is None else self.heartbeat.union(about, facts)

    def progress(self) -> None:
        """Something was done: the watchdog's time begins anew."""
        if self.heartbeat is not None:
            self.heartbeat.progress()

    def expect_progress(self, is_expected: bool) -> None:
        """Whether from here on the lack of progress means that something is stuck."""
        if self.heartbeat is not None:
            self.heartbeat.expect_progress(is_expected)

    def lost(self, index: int | None, reason: str) -> PeerLost:
        """What to raise where TensorFlow has lost worker `index`, or None: it does not say which.

        Writes the stacks of all threads to the log.
        """
        faulthandler.dump_traceback(all_threads=True)
        who = "another worker" if index is None else self.cluster.name(index)
        return PeerLost(f"{who}: is gone or frozen, or the network between us is cut ({reason})")

    def leave(self) -> None:
        """Wait until all workers have come to their end."""
        if self.heartbeat is not None:
            self.heartbeat.leave()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What ends this worker within ends the others, too, with the same code and message."""
        try:
            yield
        except Exception as error:
            if self.heartbeat is not None:
                code = error.exit_code if isinstance(error, GraftError) else 1
                self.heartbeat.end(code, str(error) or type(error).__name__)
            raise


def join_workers(
    config: Config,
    cluster: Cluster,
    held: socket.socket | None,
    data: Mapping[str, str],
    stop: StopRequest,
    say: Callable[[str], None],
) -> WorkerGroup:
    """All workers, met and compared; at once where there is one.

    Args:
        config: the run, most of which must be the same on all.
        cluster: who they are.
        held: this worker's port, see preflight.hold_port; None where it is alone.
        data: more that must be the same, by name: digests, counts, class names.
        stop: asked while this waits.
        say: told for whom it waits.

    Raises:
        PeerLost: a worker does not come.
        UserError: the workers differ.
        Preempted: SIGTERM or Ctrl-C came meanwhile.
    """
    if held is None:
        return WorkerGroup(cluster)
    settings = {
        f"--{name}": str(value) for name, value in without(Scope.WORKER, config.to_dict()).items()
    }
    versions = {**provenance.versions(), "git_commit": str(provenance.git_commit())}
    heartbeat = rendezvous.meet(
        cluster,
        held,
        {**settings, **versions, **data},
        stop,
        say,
        config.rendezvous_timeout_secs,
        config.stall_timeout_secs,
    )
    return WorkerGroup(cluster, heartbeat)
