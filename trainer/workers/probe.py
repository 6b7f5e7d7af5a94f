"""Whether another worker's port answers, tried again and again in the background."""

from __future__ import annotations

import socket
import threading

from trainer.workers.cluster import host_and_port

_CONNECT_SECS = 2.0
_PAUSE_SECS = 0.25


class PeerProbe:
    """Resolves `address` and connects to it until that succeeds.

    In a thread of its own: looking up a name may block for longer than a signal may wait.

    Args:
        address: "host:port".
    """

    def __init__(self, address: str) -> None:
        self._address = host_and_port(address)
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self.reason = "not reached yet"  # why not; empty once it has answered
        threading.Thread(target=self._run, daemon=True).start()

    def take(self) -> socket.socket | None:
        """The connection that succeeded, once; it is the caller's from there on."""
        with self._lock:
            connection, self._connection = self._connection, None
            return connection

    def cancel(self) -> None:
        """Try no more, and close what was not taken."""
        self._cancelled.set()
        connection = self.take()
        if connection is not None:
            connection.close()

    def _run(self) -> None:
        while not self._cancelled.is_set():
            try:
                connection = socket.create_connection(self._address, _CONNECT_SECS)
                # On one machine a port that nobody listens on may be given to our own end.
                if connection.getsockname() == connection.getpeername():
                    connection.close()
                    raise ConnectionRefusedError
            except (OSError, UnicodeError) as error:
                self.reason = _reason(error)
                self._cancelled.wait(_PAUSE_SECS)
                continue
            with self._lock:
                self._connection = connection
            self.reason = ""
            if self._cancelled.is_set():
                self.cancel()
            return


def _reason(error: Exception) -> str:
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "its name does not resolve"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens on its port"
    if isinstance(error, TimeoutError):
        return "its port does not answer"
    return getattr(error, "strerror", None) or str(error)
