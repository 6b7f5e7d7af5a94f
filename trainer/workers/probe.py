"""Probe another worker's port in the background until it accepts a connection."""

from __future__ import annotations

import socket
import threading

from trainer.workers.cluster import host_and_port

_CONNECT_SECS = 2.0
_PAUSE_SECS = 0.25


class PeerProbe:
    """Resolves `address` and connects to it, with retries.

    Runs in a thread, because name resolution may block for longer than a signal may wait.

    Args:
        address: "host:port".
    """

    def __init__(self, address: str) -> None:
        self._address = host_and_port(address)
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self.reason = "not reached yet"  # of the last failure; empty once connected
        threading.Thread(target=self._run, daemon=True).start()

    def take(self) -> socket.socket | None:
        """Return the connection, once; the caller owns it."""
        with self._lock:
            connection, self._connection = self._connection, None
            return connection

    def cancel(self) -> None:
        """Stop probing, and close a connection that was not taken."""
        self._cancelled.set()
        connection = self.take()
        if connection is not None:
            connection.close()

    def _run(self) -> None:
        while not self._cancelled.is_set():
            try:
                connection = socket.create_connection(self._address, _CONNECT_SECS)
                # A connection to a free local port may connect to itself.
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
