"""Detect lost workers by heartbeats on the connections of the rendezvous.

The kernel closes a killed process's connections, a frozen one's fall silent: either ends the other
workers with exit code 138, even while TensorFlow blocks. A worker that fails sends its code and
message first, and all exit with them. A stop request of one worker is sent to all.

The same connections carry small collectives between two loops: the chief adds up a few numbers of
each worker. This takes one round trip, and needs no device.
"""

from __future__ import annotations

import faulthandler
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from trainer.process.errors import PeerLost
from trainer.process.stop_signal import StopRequest
from trainer.settings.command_line import exit_process
from trainer.workers.cluster import Cluster
from trainer.workers.messages import Message, MessageServer, MessageStream

INTERVAL_SECS = 2.0
_POLL_SECS = 0.1
# After so many missed heartbeats the peer, not this worker, caused a stall.
_MISSED_HEARTBEATS = 2
# How long the other workers wait for the chief to name the cause of a stalled step.
_CHIEF_GRACE_SECS = 10.0
_FACTS_IN_MESSAGE = 400


class Heartbeat:
    """Monitors the connections between the chief and the other workers in the background.

    Args:
        cluster: with other workers.
        server: of the streams.
        streams: by worker; the chief has one to each, any other worker has the chief's.
        stop: a local request is sent to all workers; a remote one is recorded here.
        timeout_secs: how long a worker may be silent.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        cluster: Cluster,
        server: MessageServer,
        streams: dict[int, MessageStream],
        stop: StopRequest,
        timeout_secs: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cluster = cluster
        self._server = server
        self._streams = streams
        self._stop = stop
        self._timeout_secs = timeout_secs
        self._clock = clock
        self._heard_at = dict.fromkeys(streams, clock())
        self._sent_stop = 0
        self._round = 0
        self._contributions: dict[int, dict[str, Any]] = {}
        self._results: dict[int, Message] = {}
        self._changed = threading.Condition()
        self._is_leaving = False
        self._progress_at = clock()
        self._is_progress_expected = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def all_reduce_sum(self, tag: str, **values: float) -> dict[str, float]:
        """Return the sums of `values` over all workers, once all have called this.

        Args:
            tag: identifies the exchange; must be the same on all workers.
            **values: numbers by name, the same names on all workers.
        """
        return self._all_reduce(tag, values, {})["sums"]

    def all_gather(self, tag: str, facts: Mapping[str, str]) -> dict[str, str]:
        """Return the merged `facts` of all workers; of equal names the last worker's.

        Args:
            tag: see `all_reduce_sum`.
            facts: short texts by name, in any number.
        """
        pending = sorted(facts.items())
        found: dict[str, str] = {}
        # In parts that together fit into a message.
        part = max(1, _FACTS_IN_MESSAGE // self.cluster.num_workers)
        while True:
            result = self._all_reduce(tag, {"left": len(pending[part:])}, dict(pending[:part]))
            pending = pending[part:]
            found |= result["facts"]
            if not result["sums"]["left"]:
                return found

    def record_progress(self) -> None:
        """Reset the stall timeout."""
        self._progress_at = self._clock()

    def expect_progress(self, is_expected: bool) -> None:
        """Enable or disable the stall timeout, `timeout_secs` without progress."""
        self._progress_at = self._clock()
        self._is_progress_expected = is_expected

    def close(self) -> None:
        """Wait until all workers call this, and close the connections."""
        self.all_reduce_sum("leave")
        self._thread.join()
        if self.cluster.is_chief:
            self._server.close_gracefully(self._streams.values())
        self._server.close()

    def abort_all(self, code: int, message: str) -> None:
        """End all other workers with `code` and `message`, because this one must exit."""
        named = message if " (" in message else f"{self._name(self.cluster.index)}: {message}"
        self._send_all({"end": code, "message": named})
        self._is_leaving = True
        self._thread.join()
        self._server.close_gracefully(self._streams.values())

    def _all_reduce(
        self, tag: str, values: Mapping[str, float], facts: Mapping[str, str]
    ) -> Message:
        self.record_progress()
        with self._changed:
            self._round += 1
            contribution = {"round": self._round, "about": tag, "values": values, "facts": facts}
            if self.cluster.is_chief:
                self._add_contribution(0, contribution)
            else:
                self._streams[0].send(contribution)
            while self._round not in self._results:
                self._changed.wait()
            return self._results.pop(self._round)

    def _name(self, index: int) -> str:
        return self.cluster.name(index)

    def _run(self) -> None:
        sent_at = -INTERVAL_SECS
        while not self._is_leaving:
            for stream, message in self._server.poll(_POLL_SECS):
                index = next((i for i, s in self._streams.items() if s is stream), None)
                with self._changed:
                    if index is not None and not self._is_leaving:
                        self._handle(index, message)
            now = self._clock()
            self._propagate_stop()
            if now - sent_at > INTERVAL_SECS:
                sent_at = now
                self._send_all({"beat": True})
            self._check_timeouts(now)

    def _check_timeouts(self, now: float) -> None:
        """Exit if a worker has been silent, or this one without progress, for too long."""
        if self._is_leaving:
            return
        silent, heard_at = min(self._heard_at.items(), key=lambda item: item[1])
        silence = now - heard_at
        idle = now - self._progress_at if self._is_progress_expected else 0.0
        # The chief first: it is connected to all workers, and can name the cause.
        grace = 0.0 if self.cluster.is_chief else _CHIEF_GRACE_SECS
        if silence <= self._timeout_secs and idle <= self._timeout_secs + grace:
            return
        faulthandler.dump_traceback(all_threads=True)
        # A worker that waits for a silent peer has been idle for about as long.
        if silence > min(self._timeout_secs, _MISSED_HEARTBEATS * INTERVAL_SECS):
            self._exit_peer_lost(
                f"{self._name(silent)}: no heartbeat for {silence:.0f} s; "
                "it is frozen, or the network is down"
            )
        self._exit_peer_lost(
            f"{self._name(self.cluster.index)}: no progress for {idle:.0f} s, --stall_timeout_secs"
        )

    def _handle(self, index: int, message: Message | None) -> None:
        self._heard_at[index] = self._clock()
        if message is None:
            self._exit_peer_lost(f"{self._name(index)}: connection lost")
        elif "end" in message:
            self._exit_all(int(message["end"]), str(message["message"]))
        elif "stop" in message:
            self._stop.record(int(message["stop"]))
        elif "sums" in message:
            self._results[int(message["round"])] = message
            self._is_leaving = message["about"] == "leave"
            self._changed.notify_all()
        elif "round" in message:
            self._add_contribution(index, message)

    def _add_contribution(self, index: int, contribution: Message) -> None:
        """On the chief: add one worker's contribution; after the last, send the sums to all."""
        self._contributions[index] = contribution
        if len(self._contributions) < self.cluster.num_workers:
            return
        tags = {(c["round"], c["about"], *c["values"]) for c in self._contributions.values()}
        if len(tags) > 1:
            self._exit_all(1, f"a bug: the workers are out of sync: {sorted(tags)}")
        # In order, because float addition is not associative.
        contributions = [self._contributions[i] for i in sorted(self._contributions)]
        result = {
            "round": contribution["round"],
            "about": contribution["about"],
            "sums": {k: sum(c["values"][k] for c in contributions) for k in contribution["values"]},
            "facts": {name: fact for c in contributions for name, fact in c["facts"].items()},
        }
        self._contributions = {}
        self._is_leaving = contribution["about"] == "leave"
        self._send_all(result)
        self._results[contribution["round"]] = result
        self._changed.notify_all()

    def _propagate_stop(self) -> None:
        """Send a stop request once: a worker to the chief, the chief to all workers."""
        if self._stop.signal and self._sent_stop != self._stop.signal:
            self._sent_stop = self._stop.signal
            self._send_all({"stop": self._stop.signal})

    def _send_all(self, message: Message) -> None:
        for stream in self._streams.values():
            stream.send(message)

    def _exit_peer_lost(self, message: str) -> NoReturn:
        self._exit_all(PeerLost.exit_code, message)

    def _exit_all(self, code: int, message: str) -> NoReturn:
        """End all workers and this process, whose main thread may block in TensorFlow."""
        self._send_all({"end": code, "message": message})
        print(f"graft: {message}", file=sys.stderr, flush=True)
        if threading.current_thread() is self._thread:  # the only one that may poll
            self._server.close_gracefully(self._streams.values())
        exit_process(code)
