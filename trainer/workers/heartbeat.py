"""The workers' own connections, from the preflight to the end: who is gone is known at once.

A killed process's connections are closed by its kernel, a frozen one's fall silent: either ends
the others, with the code that says so, whatever TensorFlow is waiting for meanwhile. A worker that
leaves for a reason says it first, and all leave with it. A stop request of one becomes everyone's.

The same connections carry what the workers agree on between two loops: a few numbers each, added
up by the chief. It costs one round trip, and needs no device.
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

BEAT_SECS = 2.0
_POLL_SECS = 0.1
# So many that are missing say that the other is the one to blame.
_MISSED_BEATS = 2
# So long the others wait for what the chief says of a step that does not end.
_CHIEFS_WORD_SECS = 10.0
_FACTS_IN_MESSAGE = 400


class Heartbeat:
    """Connections between the chief and the others, watched in the background.

    Args:
        cluster: with other workers.
        board: of the streams.
        streams: by worker; the chief has one to each, any other worker has the chief's.
        stop: a request here is told to all; one from elsewhere is noted here.
        timeout_secs: how long another may be silent.
        clock: seconds since some fixed time.
    """

    def __init__(
        self,
        cluster: Cluster,
        board: MessageServer,
        streams: dict[int, MessageStream],
        stop: StopRequest,
        timeout_secs: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cluster = cluster
        self._board = board
        self._streams = streams
        self._stop = stop
        self._timeout_secs = timeout_secs
        self._clock = clock
        self._heard_at = dict.fromkeys(streams, clock())
        self._stop_told = 0
        self._round = 0
        self._votes: dict[int, dict[str, Any]] = {}
        self._results: dict[int, Message] = {}
        self._changed = threading.Condition()
        self._is_leaving = False
        self._progress_at = clock()
        self._is_progress_expected = False
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def agree(self, about: str, **values: float) -> dict[str, float]:
        """The sums of `values` over all workers; returns once every worker has given its own.

        Args:
            about: what this is about; all workers must have come to the same place.
            **values: numbers by name, the same names on all workers.
        """
        return self._exchange(about, values, {})["sums"]

    def union(self, about: str, facts: Mapping[str, str]) -> dict[str, str]:
        """The `facts` of all workers; of two by the same name the last worker's.

        Args:
            about: see `agree`.
            facts: short texts by name, as many as there are.
        """
        waiting = sorted(facts.items())
        found: dict[str, str] = {}
        # In parts that together fit into a message.
        part = max(1, _FACTS_IN_MESSAGE // self.cluster.num_workers)
        while True:
            result = self._exchange(about, {"left": len(waiting[part:])}, dict(waiting[:part]))
            waiting = waiting[part:]
            found |= result["facts"]
            if not result["sums"]["left"]:
                return found

    def progress(self) -> None:
        """Something was done."""
        self._progress_at = self._clock()

    def expect_progress(self, is_expected: bool) -> None:
        """Whether, from here on, `timeout_secs` without progress mean that something is stuck."""
        self._progress_at = self._clock()
        self._is_progress_expected = is_expected

    def leave(self) -> None:
        """Wait until all workers are about to leave, and let go of them."""
        self.agree("leave")
        self._thread.join()
        if self.cluster.is_chief:
            self._board.farewell(self._streams.values())
        self._board.close()

    def end(self, code: int, message: str) -> None:
        """Have all leave with `code`, as this worker must, and say why."""
        words = message if " (" in message else f"{self._name(self.cluster.index)}: {message}"
        self._send_all({"end": code, "message": words})
        self._is_leaving = True
        self._thread.join()
        self._board.farewell(self._streams.values())

    def _exchange(
        self, about: str, values: Mapping[str, float], facts: Mapping[str, str]
    ) -> Message:
        self.progress()
        with self._changed:
            self._round += 1
            vote = {"round": self._round, "about": about, "values": values, "facts": facts}
            if self.cluster.is_chief:
                self._count(0, vote)
            else:
                self._streams[0].send(vote)
            while self._round not in self._results:
                self._changed.wait()
            return self._results.pop(self._round)

    def _name(self, index: int) -> str:
        return self.cluster.name(index)

    def _watch(self) -> None:
        beaten_at = -BEAT_SECS
        while not self._is_leaving:
            for stream, message in self._board.poll(_POLL_SECS):
                index = next((i for i, s in self._streams.items() if s is stream), None)
                with self._changed:
                    if index is not None and not self._is_leaving:
                        self._note(index, message)
            now = self._clock()
            self._spread_stop()
            if now - beaten_at > BEAT_SECS:
                beaten_at = now
                self._send_all({"beat": True})
            self._judge(now)

    def _judge(self, now: float) -> None:
        """Leave when somebody has been silent for too long, or nothing has been done here."""
        if self._is_leaving:
            return
        silent, heard_at = min(self._heard_at.items(), key=lambda item: item[1])
        silence = now - heard_at
        idle = now - self._progress_at if self._is_progress_expected else 0.0
        # The chief first: it hears all the others, and knows which of them is to blame.
        grace = 0.0 if self.cluster.is_chief else _CHIEFS_WORD_SECS
        if silence <= self._timeout_secs and idle <= self._timeout_secs + grace:
            return
        faulthandler.dump_traceback(all_threads=True)
        # Who waits for the other in a step has been idle for about as long as the other is silent.
        if silence > min(self._timeout_secs, _MISSED_BEATS * BEAT_SECS):
            self._lost(
                f"{self._name(silent)}: has not been heard of for {silence:.0f} s; "
                "it is frozen, or the network between us is cut"
            )
        self._lost(
            f"{self._name(self.cluster.index)}: no progress for {idle:.0f} s, --stall_timeout_secs"
        )

    def _note(self, index: int, message: Message | None) -> None:
        self._heard_at[index] = self._clock()
        if message is None:
            self._lost(f"{self._name(index)}: is gone")
        elif "end" in message:
            self._leave_with(int(message["end"]), str(message["message"]))
        elif "stop" in message:
            self._stop.note(int(message["stop"]))
        elif "sums" in message:
            self._results[int(message["round"])] = message
            self._is_leaving = message["about"] == "leave"
            self._changed.notify_all()
        elif "round" in message:
            self._count(index, message)

    def _count(self, index: int, vote: Message) -> None:
        """On the chief: take one worker's numbers; with the last one's, tell all the sums."""
        self._votes[index] = vote
        if len(self._votes) < self.cluster.num_workers:
            return
        places = {(v["round"], v["about"], *v["values"]) for v in self._votes.values()}
        if len(places) > 1:
            self._leave_with(1, f"a bug: the workers are at different places: {sorted(places)}")
        votes = [self._votes[i] for i in sorted(self._votes)]  # sums of floats do not commute
        result = {
            "round": vote["round"],
            "about": vote["about"],
            "sums": {name: sum(v["values"][name] for v in votes) for name in vote["values"]},
            "facts": {name: fact for v in votes for name, fact in v["facts"].items()},
        }
        self._votes = {}
        self._is_leaving = vote["about"] == "leave"
        self._send_all(result)
        self._results[vote["round"]] = result
        self._changed.notify_all()

    def _spread_stop(self) -> None:
        """A worker tells the chief, and the chief all others, once."""
        if self._stop.signal and self._stop_told != self._stop.signal:
            self._stop_told = self._stop.signal
            self._send_all({"stop": self._stop.signal})

    def _send_all(self, message: Message) -> None:
        for stream in self._streams.values():
            stream.send(message)

    def _lost(self, message: str) -> NoReturn:
        self._leave_with(PeerLost.exit_code, message)

    def _leave_with(self, code: int, message: str) -> NoReturn:
        """End the process: the main thread may wait in TensorFlow for who is gone."""
        self._send_all({"end": code, "message": message})
        print(f"graft: {message}", file=sys.stderr, flush=True)
        if threading.current_thread() is self._thread:  # which alone listens
            self._board.farewell(self._streams.values())
        exit_process(code)
