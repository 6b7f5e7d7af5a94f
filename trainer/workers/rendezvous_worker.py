"""A worker's side of the preflight: reports to the chief, and does what it says."""

from __future__ import annotations

from trainer.process.errors import PeerLost, UserError
from trainer.workers.fingerprint import Fingerprint
from trainer.workers.messages import Message, MessageStream
from trainer.workers.rendezvous_room import ANSWER_SECS, RendezvousContext

# The chief, which knows more, is the first to give up.
_GRACE_SECS = 5.0
_REPORT_EVERY_SECS = 2.0


def follow(room: RendezvousContext, fingerprint: Fingerprint) -> dict[int, MessageStream]:
    """The connection to the chief, as worker 0, once it gives the start; see preflight.meet."""
    chief = _wait_for_all(room, fingerprint)
    room.board.release_port()
    chief.send({"closed": True})
    began = room.clock()
    is_stop_told = False
    while room.clock() - began < 2 * ANSWER_SECS:
        if room.stop.requested and not is_stop_told:
            # No leaving any more: the chief may have given the start, and then all stop together.
            is_stop_told = chief.send({"stop": room.stop.signal})
        for stream, message in room.poll():
            if stream is not chief:
                continue
            if message == {"start": True}:
                return {0: chief}
            _obey(room, message)
            if message is None:
                raise PeerLost(f"{room.cluster.name(0)}: left while the workers were starting")
    raise PeerLost(f"{room.cluster.name(0)}: has not given the start for {2 * ANSWER_SECS:g} s")


def _wait_for_all(room: RendezvousContext, fingerprint: Fingerprint) -> MessageStream:
    """The connection to the chief, once it has said that all have met and agree."""
    chief: MessageStream | None = None
    sent: Message | None = None
    sent_at = 0.0
    told: list[str] = []
    while True:
        chief = chief or room.connection_to_chief()
        unreached = room.unreached()
        report = {
            "worker": room.cluster.index,
            "num_workers": room.cluster.num_workers,
            "fingerprint": dict(fingerprint),
            "unreached": {str(index): reason for index, reason in unreached.items()},
        }
        is_due = report != sent or room.clock() - sent_at > _REPORT_EVERY_SECS
        if chief is not None and is_due and chief.send(report):
            sent, sent_at = report, room.clock()
        missing = [f"{room.cluster.name(i)}: {reason}" for i, reason in unreached.items()]
        silent = [f"{room.cluster.name(0)}: its port answers, but it does not"]
        if room.is_over(0.0 if chief is None else _GRACE_SECS):
            raise room.lost(missing or silent)
        room.report(missing or told or silent)
        room.raise_if_stopping([] if chief is None else [chief])
        for stream, message in room.poll():
            if stream is not chief:
                continue
            if message is None:
                chief, sent, told = None, None, []
                room.probe_again(0)
            elif message == {"close": True}:
                return stream
            elif isinstance(message.get("waiting"), list):
                told = [str(line) for line in message["waiting"]]
            _obey(room, message)


def _obey(room: RendezvousContext, message: Message | None) -> None:
    """Leave as the chief leaves."""
    message = message or {}
    if "stop" in message:
        room.stop.note(int(message["stop"]))
        room.raise_if_stopping()
    end, words = message.get("end"), str(message.get("message", ""))
    if end == "refused":
        raise UserError(words)
    if end == "lost":
        raise PeerLost(words)
