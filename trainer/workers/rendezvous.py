"""Rendezvous: connect all workers and compare their fingerprints before TensorFlow starts.

TensorFlow waits silently and forever for a missing worker. So each worker first listens on its
port with plain sockets; TensorFlow's server takes the port over afterwards:

    worker -> chief   {"worker", "num_workers", "fingerprint", "unreached"}, every 2 s
    chief -> worker   {"waiting": [...]}                          the workers it waits for
                      {"end": "lost" | "refused", "message"}      all exit with this message
                      {"close": true}    all have joined and agree: release your port
    worker -> chief   {"closed": true}
    chief -> worker   {"start": true}    all ports are released: start TensorFlow
    any -> any        {"stop": signal}   SIGTERM or Ctrl-C was received

A worker stopped before `close` exits, and the others wait for it; after `close`, all stop.
No worker receives `start` before all have sent `closed`.
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
from trainer.workers.rendezvous_chief import run_chief
from trainer.workers.rendezvous_context import RendezvousContext
from trainer.workers.rendezvous_worker import run_worker

LISTENING_FD = "GRAFT_LISTENING_FD"  # set by `graft launch` beside TF_CONFIG
TIMEOUT_SECS = 300.0
STALL_TIMEOUT_SECS = 120.0
_BACKLOG = 1024  # the kernel accepts connections while a worker is still opening its data


def reserve_port(cluster: Cluster, listening_fd: str = "") -> socket.socket:
    """Listen on this worker's port early, so that the other workers can reach it.

    Args:
        cluster: with other workers.
        listening_fd: the value of LISTENING_FD: a socket inherited from `graft launch`, which
            reserves the port without a gap.

    Returns:
        The listening socket, for `join`.

    Raises:
        UserError: the port is in use, or listening is not permitted.
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


def join(
    cluster: Cluster,
    port_socket: socket.socket,
    fingerprint: Fingerprint,
    stop: StopRequest,
    say: Callable[[str], None],
    timeout_secs: float = TIMEOUT_SECS,
    stall_timeout_secs: float = STALL_TIMEOUT_SECS,
    clock: Callable[[], float] = time.monotonic,
) -> Heartbeat:
    """Wait until all workers have joined, reach each other, agree, and have released their ports.

    Args:
        cluster: with other workers.
        port_socket: from `reserve_port`; closed on return, and on every error.
        fingerprint: what must be the same on all workers, by name.
        stop: polled several times a second.
        say: called every 10 s with a message about the workers waited for.
        timeout_secs: how long to wait for the other workers.
        stall_timeout_secs: how long a worker may be silent afterwards.
        clock: monotonic seconds.

    Returns:
        The monitored connections between the workers.

    Raises:
        PeerLost: a worker did not join in time, or exited; the message names each and why.
        UserError: the fingerprints differ; the message names the workers and the values.
        Preempted: SIGTERM or Ctrl-C was received meanwhile.
    """
    server = MessageServer(port_socket)
    context = RendezvousContext(cluster, server, stop, say, timeout_secs, clock)
    own = shortened({"workers": ",".join(cluster.workers), **fingerprint})
    streams: dict[int, MessageStream] = {}
    try:
        streams = (run_chief if cluster.is_chief else run_worker)(context, own)
    finally:
        context.close(streams.values())
    return Heartbeat(cluster, server, streams, stop, stall_timeout_secs, clock)


def _inherited(descriptor: str, port: int) -> socket.socket | None:
    """Return the socket behind `descriptor`, if it listens on `port`: it may be outdated."""
    if not descriptor.isdecimal():
        return None
    with contextlib.suppress(OSError):  # closed, or not a socket
        found = socket.socket(fileno=int(descriptor))
        is_listening = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        is_tcp = found.family in (socket.AF_INET, socket.AF_INET6)
        if is_listening and is_tcp and found.getsockname()[1] == port:
            found.set_inheritable(False)
            return found
        found.detach()  # not ours to close
    return None


def listen(port: int) -> socket.socket:
    """Listen on all addresses, as TensorFlow's server will; on IPv4 only without IPv6."""
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(
                ("", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True
            )
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
    return socket.create_server(("", port), backlog=_BACKLOG)
