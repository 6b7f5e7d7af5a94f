"""A worker's side of the rendezvous: report to the chief, and follow its instructions."""

from __future__ import annotations

from trainer.process.errors import PeerLost, UserError
from trainer.workers.fingerprint import Fingerprint
from trainer.workers.messages import Message, MessageStream
from trainer.workers.rendezvous_context import ANSWER_SECS, RendezvousContext

# The chief, whose message has more detail, times out first.
_GRACE_SECS = 5.0
_REPORT_EVERY_SECS = 2.0


def run_worker(context: RendezvousContext, fingerprint: Fingerprint) -> dict[int, MessageStream]:
    """Return the connection to worker 0, the chief, once it sends the start."""
    chief = _report_until_complete(context, fingerprint)
    context.server.release_port()
    chief.send({"closed": True})
    began = context.clock()
    is_stop_sent = False
    while context.clock() - began < 2 * ANSWER_SECS:
        if context.stop.requested and not is_stop_sent:
            # Too late to exit alone: the chief may have sent the start; then all stop together.
            is_stop_sent = chief.send({"stop": context.stop.signal})
        for stream, message in context.poll():
            if stream is not chief:
                continue
            if message == {"start": True}:
                return {0: chief}
            _raise_if_ended(context, message)
            if message is None:
                raise PeerLost(f"{context.cluster.name(0)}: exited while the workers were starting")
    raise PeerLost(f"{context.cluster.name(0)}: has not sent the start for {2 * ANSWER_SECS:g} s")


def _report_until_complete(context: RendezvousContext, fingerprint: Fingerprint) -> MessageStream:
    """Report to the chief until all workers have joined and agree; return the connection."""
    chief: MessageStream | None = None
    sent: Message | None = None
    sent_at = 0.0
    waiting: list[str] = []
    while True:
        chief = chief or context.connection_to_chief()
        unreached = context.unreachable()
        report = {
            "worker": context.cluster.index,
            "num_workers": context.cluster.num_workers,
            "fingerprint": dict(fingerprint),
            "unreached": {str(index): reason for index, reason in unreached.items()},
        }
        is_due = report != sent or context.clock() - sent_at > _REPORT_EVERY_SECS
        if chief is not None and is_due and chief.send(report):
            sent, sent_at = report, context.clock()
        missing = [f"{context.cluster.name(i)}: {reason}" for i, reason in unreached.items()]
        silent = [f"{context.cluster.name(0)}: its port answers, but it does not"]
        if context.is_timed_out(0.0 if chief is None else _GRACE_SECS):
            raise context.timeout_error(missing or silent)
        context.log_waiting(missing or waiting or silent)
        context.raise_if_stopping([] if chief is None else [chief])
        for stream, message in context.poll():
            if stream is not chief:
                continue
            if message is None:
                chief, sent, waiting = None, None, []
                context.restart_probe(0)
            elif message == {"close": True}:
                return stream
            elif isinstance(message.get("waiting"), list):
                waiting = [str(line) for line in message["waiting"]]
            _raise_if_ended(context, message)


def _raise_if_ended(context: RendezvousContext, message: Message | None) -> None:
    """Raise the stop or error that the chief sent, if any."""
    message = message or {}
    if "stop" in message:
        context.stop.record(int(message["stop"]))
        context.raise_if_stopping()
    end, text = message.get("end"), str(message.get("message", ""))
    if end == "refused":
        raise UserError(text)
    if end == "lost":
        raise PeerLost(text)
