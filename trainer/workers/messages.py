"""JSON objects over TCP, one a line; whoever sends anything else is shown out."""

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
# Connections that have not said anything yet: more than any cluster's workers, and a bound.
_MAX_SILENT = 1024
_FAREWELL_SECS = 2.0


class MessageStream:
    """One connection.

    Args:
        connection: connected; owned from here on.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self._received = b""

    def send(self, message: Message) -> bool:
        """Send it; False where the other side is gone, or has long not read."""
        try:
            # Small enough for the kernel to take it as a whole.
            self.connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return False
        return True

    def receive(self) -> list[Message]:
        """What has come, without waiting.

        Raises:
            ConnectionError: the other side has closed, or sends what is no message.
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
    """All connections of one process, and the port on which new ones come in.

    Args:
        held: the listening socket; owned from here on.
    """

    def __init__(self, held: socket.socket) -> None:
        held.setblocking(False)
        self._held = held
        self._streams: dict[MessageStream, bool] = {}  # whether it has ever said something
        self._received: collections.deque[tuple[MessageStream, Message | None]]
        self._received = collections.deque()
        self._selector = selectors.DefaultSelector()
        self._selector.register(held, selectors.EVENT_READ)

    def add(self, stream: MessageStream) -> None:
        """Listen to `stream`, too."""
        self._streams[stream] = True
        self._selector.register(stream.connection, selectors.EVENT_READ, stream)

    def poll(self, secs: float) -> Iterator[tuple[MessageStream, Message | None]]:
        """What comes within `secs` seconds, by stream; None where one is closed, and forgotten.

        Whoever stops in the middle finds the rest at the next poll.
        """
        if not self._received:
            self._receive(secs)
        while self._received:
            yield self._received.popleft()

    def farewell(self, streams: Iterable[MessageStream]) -> None:
        """Say no more, and hear the others to their end before hanging up.

        To close with something unread unsays what was sent.
        """
        waiting = set(streams) & self._streams.keys()
        for stream in waiting:
            with contextlib.suppress(OSError):  # it is gone by itself
                stream.connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + _FAREWELL_SECS
        while waiting and time.monotonic() < deadline:
            waiting -= {stream for stream, message in self.poll(0.05) if message is None}
        for stream in waiting:
            self.drop(stream)

    def drop(self, stream: MessageStream) -> None:
        """Close `stream` and forget it."""
        if self._streams.pop(stream, None) is not None:
            self._selector.unregister(stream.connection)
            stream.close()

    def release_port(self) -> None:
        """Close the listening socket: from here on the port is free for another."""
        if self._held.fileno() >= 0:
            self._selector.unregister(self._held)
            self._held.close()

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
        with contextlib.suppress(OSError):  # it may have gone again
            stream = MessageStream(self._held.accept()[0])
            self.add(stream)
            self._streams[stream] = False
        silent = [stream for stream, has_spoken in self._streams.items() if not has_spoken]
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
