"""JSON objects over TCP, one a line; a connection that sends anything else is closed."""

from __future__ import annotations

import collections
import contextlib
import json
import selectors
import socket
import time
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any

Message = dict[str, Any]

MAX_LINE_BYTES = 256 * 1024
# Bound of connections that have sent nothing yet: more than any cluster's workers.
_MAX_SILENT = 1024
_CLOSE_SECS = 2.0


class MessageStream:
    """One connection.

    Args:
        connection: connected; owned by this object.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self._received = b""

    def send(self, message: Message) -> bool:
        """Send `message`; return False if the peer closed the connection or does not read."""
        try:
            # Small enough for the kernel's send buffer.
            self.connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return False
        return True

    def receive(self) -> list[Message]:
        """Return the received messages without blocking.

        Raises:
            ConnectionError: the peer closed the connection, or sent an invalid message.
        """
        try:
            data = self.connection.recv(MAX_LINE_BYTES)
        except BlockingIOError:
            return []
        except OSError as error:
            raise ConnectionError(error.strerror) from error
        if not data:
            raise ConnectionError("closed")
        *lines, self._received = (self._received + data).split(b"\n")
        if len(self._received) > MAX_LINE_BYTES:
            raise ConnectionError("a line without end")
        return [_message(line) for line in lines]

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


class MessageServer:
    """All connections of one process, and its listening port.

    Args:
        port_socket: the listening socket; owned by this object.
    """

    def __init__(self, port_socket: socket.socket) -> None:
        port_socket.setblocking(False)
        self._port_socket = port_socket
        self._streams: dict[MessageStream, bool] = {}  # whether it has sent anything
        self._received: collections.deque[tuple[MessageStream, Message | None]]
        self._received = collections.deque()
        self._selector = selectors.DefaultSelector()
        self._selector.register(port_socket, selectors.EVENT_READ)

    def add(self, stream: MessageStream) -> None:
        """Poll `stream`, too."""
        self._streams[stream] = True
        self._selector.register(stream.connection, selectors.EVENT_READ, stream)

    def poll(self, secs: float) -> Iterator[tuple[MessageStream, Message | None]]:
        """Yield messages received within `secs` seconds, by stream; None if it was closed.

        A partially consumed poll continues at the next one.
        """
        if not self._received:
            self._receive(secs)
        while self._received:
            yield self._received.popleft()

    def close_gracefully(self, streams: Iterable[MessageStream]) -> None:
        """Stop sending, and read `streams` to their end before closing them.

        Closing a connection with unread data would discard what was sent.
        """
        pending = set(streams) & self._streams.keys()
        for stream in pending:
            with contextlib.suppress(OSError):  # closed already
                stream.connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + _CLOSE_SECS
        while pending and time.monotonic() < deadline:
            pending -= {stream for stream, message in self.poll(0.05) if message is None}
        for stream in pending:
            self.drop(stream)

    def drop(self, stream: MessageStream) -> None:
        """Close `stream` and forget it."""
        if self._streams.pop(stream, None) is not None:
            self._selector.unregister(stream.connection)
            stream.close()

    def release_port(self) -> None:
        """Close the listening socket, to free the port."""
        if self._port_socket.fileno() >= 0:
            self._selector.unregister(self._port_socket)
            self._port_socket.close()

    def close(self, kept: AbstractSet[MessageStream] = frozenset()) -> None:
        """Close everything but the streams `kept`."""
        self.release_port()
        for stream in set(self._streams) - kept:
            self.drop(stream)
        if not kept:
            self._selector.close()

    def _receive(self, secs: float) -> None:
        for key, _ in self._selector.select(secs):
            stream = key.data
            if stream is None:
                self._accept()
                continue
            if stream not in self._streams:
                continue
            try:
                messages = stream.receive()
            except ConnectionError:
                self.drop(stream)
                self._received.append((stream, None))
                continue
            self._streams[stream] |= bool(messages)
            self._received += [(stream, message) for message in messages]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the peer may have closed it already
            stream = MessageStream(self._port_socket.accept()[0])
            self.add(stream)
            self._streams[stream] = False
        silent = [stream for stream, has_sent in self._streams.items() if not has_sent]
        if len(silent) > _MAX_SILENT:
            self.drop(silent[0])


def _message(line: bytes) -> Message:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConnectionError("no JSON") from error
    if not isinstance(value, dict):
        raise ConnectionError("no JSON object")
    return value
