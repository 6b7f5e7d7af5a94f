"""Where chief and workers wait in the preflight: deadline, stop request, a line now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from trainer.process.errors import PeerLost
from trainer.process.stop_signal import StopRequest
from trainer.workers.cluster import Cluster
from trainer.workers.messages import Message, MessageServer, MessageStream
from trainer.workers.probe import PeerProbe

SAY_EVERY_SECS = 10.0
# How long a worker that has been heard of may take for one answer.
ANSWER_SECS = 10.0
_POLL_SECS = 0.1


class RendezvousContext:
    """What both sides of the preflight need while they wait; arguments as of preflight.meet."""

    def __init__(
        self,
        cluster: Cluster,
        board: MessageServer,
        stop: StopRequest,
        say: Callable[[str], None],
        timeout_secs: float,
        clock: Callable[[], float],
    ) -> None:
        self.cluster = cluster
        self.board = board
        self.clock = clock
        self.stop = stop
        self._say = say
        self._timeout_secs = timeout_secs
        self._began = self._said = clock()
        others = [i for i in range(cluster.num_workers) if i != cluster.index]
        self._probes = {i: PeerProbe(cluster.workers[i]) for i in others}

    def poll(self) -> Iterator[tuple[MessageStream, Message | None]]:
        """What comes in a tenth of a second; see MessageServer.poll."""
        return self.board.poll(_POLL_SECS)

    def raise_if_stopping(self, told: Iterable[MessageStream] = ()) -> None:
        """Leave where SIGTERM or Ctrl-C has come.

        Args:
            told: the streams to whom it is said.

        Raises:
            Preempted: it has.
        """
        if self.stop.requested:
            self.broadcast(told, {"stop": self.stop.signal})
            raise self.stop.error("before training; there is nothing to save")

    def broadcast(self, streams: Iterable[MessageStream], message: Message) -> None:
        """Say one's last words to `streams`."""
        told = list(streams)
        for stream in told:
            stream.send(message)
        self.board.farewell(told)

    def is_over(self, grace_secs: float = 0.0) -> bool:
        """Whether the time to wait for the others is spent."""
        return self.clock() - self._began > self._timeout_secs + grace_secs

    def report(self, missing: Sequence[str]) -> bool:
        """Say for whom this waits, if that is due; returns whether it was."""
        is_due = self.clock() - self._said >= SAY_EVERY_SECS
        if is_due:
            self._said = self.clock()
            waited = self.clock() - self._began
            self._say(f"waiting    {waited:.0f} s for {'; '.join(missing)}")
        return is_due

    def lost(self, missing: Sequence[str]) -> PeerLost:
        """The error for workers that did not come in time."""
        return PeerLost(
            f"waited {self._timeout_secs:g} s for the other workers:\n  " + "\n  ".join(missing)
        )

    def unreached(self) -> dict[int, str]:
        """Why not, for each worker whose port has not answered yet."""
        return {i: probe.reason for i, probe in self._probes.items() if probe.reason}

    def connection_to_chief(self) -> MessageStream | None:
        """Listened to from here on; None as long as there is none."""
        connection = self._probes[0].take()
        if connection is None:
            return None
        stream = MessageStream(connection)
        self.board.add(stream)
        return stream

    def probe_again(self, index: int) -> None:
        """A connection has ended: worker `index` may be gone, or started anew."""
        self._probes[index].cancel()
        self._probes[index] = PeerProbe(self.cluster.workers[index])

    def leave(self, streams: Iterable[MessageStream] = ()) -> None:
        """Close everything that was opened for the preflight, the port included, but `streams`."""
        for probe in self._probes.values():
            probe.cancel()
        self.board.close(kept=set(streams))
