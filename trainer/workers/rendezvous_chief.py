"""The chief's side of the rendezvous: collect reports, compare fingerprints, send the start."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from trainer.process.errors import GraftError, PeerLost, UserError
from trainer.workers.fingerprint import Fingerprint, differences
from trainer.workers.messages import Message, MessageStream
from trainer.workers.rendezvous_context import ANSWER_SECS, RendezvousContext


@dataclasses.dataclass
class _Member:
    """A worker that has reported.

    Attributes:
        unreached: worker index -> why the member cannot reach it.
        heard_at: time of its last report, by the context's clock.
    """

    stream: MessageStream
    fingerprint: Fingerprint
    unreached: dict[int, str]
    heard_at: float


def run_chief(context: RendezvousContext, fingerprint: Fingerprint) -> dict[int, MessageStream]:
    """Return the connection to each worker, once all are ready to start; see join."""
    members: dict[int, _Member] = {}
    try:
        _wait_for_all(context, members)
        names = [context.cluster.name(i) for i in range(context.cluster.num_workers)]
        reported = [members[i].fingerprint for i in range(1, len(names))]
        lines = differences([fingerprint, *reported], names)
        if lines:
            raise UserError("the workers differ, and must have the same:\n  " + "\n  ".join(lines))
        _release_ports(context, members)
    except (PeerLost, UserError) as error:
        _broadcast_end(context, (member.stream for member in members.values()), error)
        raise
    for member in members.values():
        member.stream.send({"start": True})
    return {index: member.stream for index, member in members.items()}


def _wait_for_all(context: RendezvousContext, members: dict[int, _Member]) -> None:
    while missing := _missing_workers(context, members):
        if context.is_timed_out():
            raise context.timeout_error(missing)
        if context.log_waiting(missing):
            for member in members.values():
                member.stream.send({"waiting": missing})
        context.raise_if_stopping()
        for stream, message in context.poll():
            if message is not None and "stop" in message:
                context.server.drop(stream)  # it exits; wait for its restart
            elif message is not None:
                _register(context, members, stream, message)
                continue
            for index in [i for i, member in members.items() if member.stream is stream]:
                del members[index]
                context.restart_probe(index)


def _register(
    context: RendezvousContext, members: dict[int, _Member], stream: MessageStream, message: Message
) -> None:
    """Register a worker's report; close the connection if it is invalid."""
    num_workers = context.cluster.num_workers
    try:
        index, count = int(message["worker"]), int(message["num_workers"])
        fingerprint = {str(k): str(v) for k, v in dict(message["fingerprint"]).items()}
        unreached = {int(i): str(reason) for i, reason in dict(message["unreached"]).items()}
    except (KeyError, TypeError, ValueError):
        context.server.drop(stream)
        return
    if count != num_workers:
        error = UserError(
            f"the workers differ: {context.cluster.name(0)} knows of {num_workers} workers, and "
            f"worker {index} of {count}; all must be given the same number"
        )
        _broadcast_end(context, [stream], error)
        raise error
    if not (0 < index < num_workers and unreached.keys() <= set(range(num_workers))):
        context.server.drop(stream)
        return
    before = members.get(index)
    members[index] = _Member(stream, fingerprint, unreached, context.clock())
    if before is not None and before.stream is not stream:
        # The worker was restarted, or two processes have the same index.
        text = f"another process reports as {context.cluster.name(index)}, too; each has its index"
        before.stream.send({"end": "refused", "message": text})
        context.server.drop(before.stream)


def _missing_workers(context: RendezvousContext, members: dict[int, _Member]) -> list[str]:
    """Return a line for each worker or connection still missing."""
    cluster, lines, unreached = context.cluster, [], context.unreachable()
    for index in range(1, cluster.num_workers):
        if index in unreached:
            lines.append(f"{cluster.name(index)}: {unreached[index]}")
        elif index not in members:
            lines.append(f"{cluster.name(index)}: its port answers, but it does not report")
        elif (silent_secs := context.clock() - members[index].heard_at) > ANSWER_SECS:
            lines.append(f"{cluster.name(index)}: no report for {silent_secs:.0f} s")
        else:
            lines += [
                f"{cluster.name(other)}: not reached from worker {index}: {reason}"
                for other, reason in members[index].unreached.items()
                if other not in unreached
            ]
    return lines


def _release_ports(context: RendezvousContext, members: dict[int, _Member]) -> None:
    """Have every worker release its port, and then release the chief's own."""
    names = {member.stream: context.cluster.name(index) for index, member in members.items()}
    for stream in names:
        stream.send({"close": True})
    pending = dict(names)
    began = context.clock()
    while pending:
        if context.clock() - began > ANSWER_SECS:
            silent = ", ".join(pending.values())
            raise PeerLost(f"{silent}: reported, but has not answered for {ANSWER_SECS:g} s")
        context.raise_if_stopping(names)
        for stream, message in context.poll():
            if stream not in names:
                continue
            if message is None:
                context.raise_if_stopping(names)
                raise PeerLost(f"{names[stream]}: exited while the workers were starting")
            if "stop" in message:
                context.stop.record(int(message["stop"]))
            elif "closed" in message:
                pending.pop(stream, None)
    context.server.release_port()


def _broadcast_end(
    context: RendezvousContext, streams: Iterable[MessageStream], error: GraftError
) -> None:
    """Send `error` to workers, so that all exit the same way."""
    end = "refused" if isinstance(error, UserError) else "lost"
    context.broadcast(streams, {"end": end, "message": str(error)})
