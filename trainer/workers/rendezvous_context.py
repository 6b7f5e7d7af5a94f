"""What chief and workers share in the rendezvous: deadline, stop request, probes, log lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from trainer.process.errors import PeerLost
from trainer.process.stop_signal import StopRequest
from trainer.workers.cluster import Cluster
from trainer.workers.messages import Message, MessageServer, MessageStream
from trainer.workers.probe import PeerProbe

LOG_EVERY_SECS = 10.0
# How long a worker that has reported may take for one answer.
ANSWER_SECS = 10.0
_POLL_SECS = 0.1


class RendezvousContext:
    """The common state of both sides of the rendezvous; arguments as of rendezvous.join."""

    def __init__(
        self,
        cluster: Cluster,
        server: MessageServer,
        stop: StopRequest,
        say: Callable[[str], None],
        timeout_secs: float,
        clock: Callable[[], float],
    ) -> None:
        self.cluster = cluster
        self.server = server
        self.clock = clock
        self.stop = stop
        self._say = say
        self._timeout_secs = timeout_secs
        self._began = self._logged_at = clock()
        others = [i for i in range(cluster.num_workers) if i != cluster.index]
        self._probes = {i: PeerProbe(cluster.workers[i]) for i in others}

    def poll(self) -> Iterator[tuple[MessageStream, Message | None]]:
        """Yield the messages of a tenth of a second; see MessageServer.poll."""
        return self.server.poll(_POLL_SECS)

    def raise_if_stopping(self, streams: Iterable[MessageStream] = ()) -> None:
        """Raise if SIGTERM or Ctrl-C was received, after sending the stop to `streams`.

        Raises:
            Preempted: a signal was received.
        """
        if self.stop.requested:
            self.broadcast(streams, {"stop": self.stop.signal})
            raise self.stop.error("before training; there is nothing to save")

    def broadcast(self, streams: Iterable[MessageStream], message: Message) -> None:
        """Send a final message to `streams`, and close them."""
        receivers = list(streams)
        for stream in receivers:
            stream.send(message)
        self.server.close_gracefully(receivers)

    def is_timed_out(self, grace_secs: float = 0.0) -> bool:
        """Whether the rendezvous timed out."""
        return self.clock() - self._began > self._timeout_secs + grace_secs

    def log_waiting(self, missing: Sequence[str]) -> bool:
        """Log the missing workers every LOG_EVERY_SECS; return whether this call did."""
        is_due = self.clock() - self._logged_at >= LOG_EVERY_SECS
        if is_due:
            self._logged_at = self.clock()
            waited = self.clock() - self._began
            self._say(f"waiting    {waited:.0f} s for {'; '.join(missing)}")
        return is_due

    def timeout_error(self, missing: Sequence[str]) -> PeerLost:
        """Return the error for workers that did not join in time."""
        return PeerLost(
            f"waited {self._timeout_secs:g} s for the other workers:\n  " + "\n  ".join(missing)
        )

    def unreachable(self) -> dict[int, str]:
        """Return the reason for each worker whose port has not answered yet."""
        return {i: probe.reason for i, probe in self._probes.items() if probe.reason}

    def connection_to_chief(self) -> MessageStream | None:
        """Return the connection to the chief once established, and poll it from then on."""
        connection = self._probes[0].take()
        if connection is None:
            return None
        stream = MessageStream(connection)
        self.server.add(stream)
        return stream

    def restart_probe(self, index: int) -> None:
        """Probe worker `index` again after its connection closed: it may have been restarted."""
        self._probes[index].cancel()
        self._probes[index] = PeerProbe(self.cluster.workers[index])

    def close(self, streams: Iterable[MessageStream] = ()) -> None:
        """Close probes, port and connections, except `streams`."""
        for probe in self._probes.values():
            probe.cancel()
        self.server.close(kept=set(streams))
