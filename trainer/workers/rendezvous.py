"""All workers meet, and compare what they are about to do, before TensorFlow waits for anyone.

TensorFlow waits in silence, and for ever, for a worker that does not come. So each worker first
listens on its own port, by plain sockets; TensorFlow's server takes the port over afterwards:

    worker -> chief   {"worker", "num_workers", "fingerprint", "unreached"}, every 2 s
    chief -> worker   {"waiting": [...]}                          whom it waits for
                      {"end": "lost" | "refused", "message"}      all leave, and say the same
                      {"close": true}    all have met and agree: give your port free
    worker -> chief   {"closed": true}
    chief -> worker   {"start": true}    no port is held any more: start TensorFlow
    any -> any        {"stop": signal}   SIGTERM or Ctrl-C has come

Before `close` whoever is stopped leaves, and the others wait for it; after, all stop with it.

Nobody gets as far as `start` before everybody has got as far as `closed`.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Callable

from trainer.process.errors import UserError
from trainer.process.stop_signal import StopRequest
from trainer.workers.cluster import Cluster, host_and_port
from trainer.workers.fingerprint import Fingerprint, shortened
from trainer.workers.heartbeat import Heartbeat
from trainer.workers.messages import MessageServer, MessageStream
from trainer.workers.rendezvous_chief import lead
from trainer.workers.rendezvous_room import RendezvousContext
from trainer.workers.rendezvous_worker import follow

LISTENING_FD = "GRAFT_LISTENING_FD"  # set by `graft launch` beside TF_CONFIG
TIMEOUT_SECS = 300.0
STALL_TIMEOUT_SECS = 120.0
_BACKLOG = 1024  # the kernel answers for a worker that is still opening its data


def hold_port(cluster: Cluster, listening_fd: str = "") -> socket.socket:
    """Listen on this worker's port, so that the others see it; as early as can be.

    Args:
        cluster: with other workers.
        listening_fd: what LISTENING_FD says: the number of a socket that `graft launch` has
            handed down, which is taken over, so that nobody could take its port meanwhile.

    Returns:
        The listening socket, for `meet`. To leave without meeting, close it.

    Raises:
        UserError: the port is taken, or may not be listened on.
    """
    _, port = host_and_port(cluster.address)
    inherited = _inherited(listening_fd, port)
    if inherited is not None:
        return inherited
    try:
        return listen(port)
    except OSError as error:
        cause = error.strerror
        if error.errno == errno.EADDRINUSE:
            cause = "another process of this machine listens on it; stop that, or choose another"
        raise UserError(
            f"{cluster.source}: port {port} of {cluster.name(cluster.index)}: {cause}"
        ) from error


def meet(
    cluster: Cluster,
    held: socket.socket,
    fingerprint: Fingerprint,
    stop: StopRequest,
    say: Callable[[str], None],
    timeout_secs: float = TIMEOUT_SECS,
    stall_timeout_secs: float = STALL_TIMEOUT_SECS,
    clock: Callable[[], float] = time.monotonic,
) -> Heartbeat:
    """Return once all workers are there, reach each other, agree, and have their ports free.

    Args:
        cluster: with other workers.
        held: what `hold_port` returned; closed on return, and on every error.
        fingerprint: what must be the same on all workers, by name.
        stop: asked several times a second.
        say: told every 10 s for whom this waits.
        timeout_secs: how long to wait for the others.
        stall_timeout_secs: how long another may be silent afterwards.
        clock: seconds since some fixed time.

    Returns:
        The connections between the workers, watched from here on.

    Raises:
        PeerLost: a worker did not come in time, or left; the message names each and why.
        UserError: the fingerprints differ; the message names the odd ones and both values.
        Preempted: SIGTERM or Ctrl-C came meanwhile.
    """
    board = MessageServer(held)
    room = RendezvousContext(cluster, board, stop, say, timeout_secs, clock)
    mine = shortened({"workers": ",".join(cluster.workers), **fingerprint})
    streams: dict[int, MessageStream] = {}
    try:
        streams = (lead if cluster.is_chief else follow)(room, mine)
    finally:
        room.leave(streams.values())
    return Heartbeat(cluster, board, streams, stop, stall_timeout_secs, clock)


def _inherited(descriptor: str, port: int) -> socket.socket | None:
    """The socket behind `descriptor`, if it listens on `port`: the variable may be an old one."""
    if not descriptor.isdecimal():
        return None
    with contextlib.suppress(OSError):  # closed, or no socket
        found = socket.socket(fileno=int(descriptor))
        is_listening = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        is_tcp = found.family in (socket.AF_INET, socket.AF_INET6)
        if is_listening and is_tcp and found.getsockname()[1] == port:
            found.set_inheritable(False)
            return found
        found.detach()  # somebody else's
    return None


def listen(port: int) -> socket.socket:
    """On all addresses, as TensorFlow's server will; IPv4 alone where a machine has no IPv6."""
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(
                ("", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True
            )
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
    return socket.create_server(("", port), backlog=_BACKLOG)
