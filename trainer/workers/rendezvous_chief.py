"""The chief's side of the preflight: hears all workers, compares, and gives the start."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from trainer.process.errors import GraftError, PeerLost, UserError
from trainer.workers.fingerprint import Fingerprint, differences
from trainer.workers.messages import Message, MessageStream
from trainer.workers.rendezvous_room import ANSWER_SECS, RendezvousContext


@dataclasses.dataclass
class _Member:
    """A worker that has reported.

    Attributes:
        unreached: worker index -> why it is not reached from there.
        heard_at: when it last reported, by the room's clock.
    """

    stream: MessageStream
    fingerprint: Fingerprint
    unreached: dict[int, str]
    heard_at: float


def lead(room: RendezvousContext, fingerprint: Fingerprint) -> dict[int, MessageStream]:
    """The connection to each worker, once all have met, agreed and freed their ports.

    See preflight.meet for what it raises.
    """
    members: dict[int, _Member] = {}
    try:
        _gather(room, members)
        names = [room.cluster.name(i) for i in range(room.cluster.num_workers)]
        reported = [members[i].fingerprint for i in range(1, len(names))]
        lines = differences([fingerprint, *reported], names)
        if lines:
            raise UserError("the workers differ, and must have the same:\n  " + "\n  ".join(lines))
        _close_all(room, members)
    except (PeerLost, UserError) as error:
        _end(room, (member.stream for member in members.values()), error)
        raise
    for member in members.values():
        member.stream.send({"start": True})
    return {index: member.stream for index, member in members.items()}


def _gather(room: RendezvousContext, members: dict[int, _Member]) -> None:
    while missing := _missing(room, members):
        if room.is_over():
            raise room.lost(missing)
        if room.report(missing):
            for member in members.values():
                member.stream.send({"waiting": missing})
        room.raise_if_stopping()
        for stream, message in room.poll():
            if message is not None and "stop" in message:
                room.board.drop(stream)  # it leaves, and is waited for anew
            elif message is not None:
                _note(room, members, stream, message)
                continue
            for index in [i for i, member in members.items() if member.stream is stream]:
                del members[index]
                room.probe_again(index)


def _note(
    room: RendezvousContext, members: dict[int, _Member], stream: MessageStream, message: Message
) -> None:
    """Take a worker's report; show a stranger out."""
    num_workers = room.cluster.num_workers
    try:
        index, count = int(message["worker"]), int(message["num_workers"])
        fingerprint = {str(k): str(v) for k, v in dict(message["fingerprint"]).items()}
        unreached = {int(i): str(reason) for i, reason in dict(message["unreached"]).items()}
    except (KeyError, TypeError, ValueError):
        room.board.drop(stream)
        return
    if count != num_workers:
        error = UserError(
            f"the workers differ: {room.cluster.name(0)} knows of {num_workers} workers, and "
            f"worker {index} of {count}; all must be told of the same"
        )
        _end(room, [stream], error)
        raise error
    if not (0 < index < num_workers and unreached.keys() <= set(range(num_workers))):
        room.board.drop(stream)
        return
    before = members.get(index)
    members[index] = _Member(stream, fingerprint, unreached, room.clock())
    if before is not None and before.stream is not stream:
        # Either it was started anew, and the old connection hears nothing, or there are two.
        words = f"another process reports as {room.cluster.name(index)}, too; each has its index"
        before.stream.send({"end": "refused", "message": words})
        room.board.drop(before.stream)


def _missing(room: RendezvousContext, members: dict[int, _Member]) -> list[str]:
    """One line for whatever is still waited for."""
    cluster, lines, unreached = room.cluster, [], room.unreached()
    for index in range(1, cluster.num_workers):
        if index in unreached:
            lines.append(f"{cluster.name(index)}: {unreached[index]}")
        elif index not in members:
            lines.append(f"{cluster.name(index)}: its port answers, but it does not report")
        elif (silent_secs := room.clock() - members[index].heard_at) > ANSWER_SECS:
            lines.append(f"{cluster.name(index)}: has not been heard of for {silent_secs:.0f} s")
        else:
            lines += [
                f"{cluster.name(other)}: not reached from worker {index}: {reason}"
                for other, reason in members[index].unreached.items()
                if other not in unreached
            ]
    return lines


def _close_all(room: RendezvousContext, members: dict[int, _Member]) -> None:
    """Have every worker give its port free, and then the chief its own."""
    told = {member.stream: room.cluster.name(index) for index, member in members.items()}
    for stream in told:
        stream.send({"close": True})
    waiting = dict(told)
    began = room.clock()
    while waiting:
        if room.clock() - began > ANSWER_SECS:
            names = ", ".join(waiting.values())
            raise PeerLost(f"{names}: reported, but has not answered for {ANSWER_SECS:g} s")
        room.raise_if_stopping(told)
        for stream, message in room.poll():
            if stream not in told:
                continue
            if message is None:
                room.raise_if_stopping(told)
                raise PeerLost(f"{told[stream]}: left while the workers were starting")
            if "stop" in message:
                room.stop.note(int(message["stop"]))
            elif "closed" in message:
                waiting.pop(stream, None)
    room.board.release_port()


def _end(room: RendezvousContext, streams: Iterable[MessageStream], error: GraftError) -> None:
    """Tell workers how this ends, so that all end the same way."""
    end = "refused" if isinstance(error, UserError) else "lost"
    room.broadcast(streams, {"end": end, "message": str(error)})
