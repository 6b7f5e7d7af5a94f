"""An HTTP proxy on loopback that counts what passes, and fails as it is told to.

Plain requests, and https through CONNECT with a certificate of its own, end up at one server. A
plan is asked about every request and names a fault:

    "403" "429" "500" "503"   answered here; the server never hears of it
    "reset"                   the connection is broken before the server hears of it
    "lost"                    the server does it, the answer is lost
    "cut"                     the server does it, the answer breaks off half-way
    "crc"                     the answer's checksum is wrong; one bit of a download is flipped
    "delay:SECS"              forwarded late
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable

import trustme

from tests.servers.http_messages import (
    Answer,
    Request,
    forward,
    framed,
    with_wrong_checksum,
)

HOSTS = ("storage.googleapis.com", "www.googleapis.com", "oauth2.googleapis.com")


Plan = Callable[[Request], str | None]


class FaultProxy:
    """A proxy in front of the server on `port`.

    Attributes:
        plan: asked about every request, on the proxy's thread; None lets it pass.
        delay_secs: added to every request.
        requests: all that were received so far.
    """

    def __init__(self, port: int, ca: trustme.CA) -> None:
        self.plan: Plan = lambda request: None
        self.delay_secs = 0.0
        self.requests: list[Request] = []
        self.port = 0
        self._upstream = port
        self._finished: dict[str, Answer] = {}  # by upload session
        self._tls_port = 0
        self._ca = ca
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        """Of the plain side."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, on a thread of its own."""
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        """Close everything."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def reset(self) -> None:
        """No faults, no delays, nothing counted."""
        self.plan, self.delay_secs, self.requests = lambda request: None, 0.0, []

    def count(self, *methods: str, matching: str = "") -> int:
        """Requests with one of `methods` (any, without) whose target holds `matching`."""
        return sum(
            (not methods or r.method in methods) and matching in r.target for r in self.requests
        )

    def bytes_received(self) -> int:
        """Of all bodies."""
        return sum(len(request.body) for request in self.requests)

    def _serve(self) -> None:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*HOSTS).configure_cert(context)
        asyncio.set_event_loop(self._loop)
        start = self._loop.run_until_complete
        plain = start(asyncio.start_server(self._on_plain, "127.0.0.1", 0, backlog=512))
        tls = start(asyncio.start_server(self._on_tls, "127.0.0.1", 0, ssl=context))
        self.port = plain.sockets[0].getsockname()[1]
        self._tls_port = tls.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        start(asyncio.gather(*tasks, return_exceptions=True))
        plain.close()
        tls.close()
        start(self._loop.shutdown_default_executor())

    async def _on_plain(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._guard(self._converse(reader, writer, "http"), writer)

    async def _on_tls(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._guard(self._converse(reader, writer, "https"), writer)

    async def _guard(self, conversation, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
            await conversation
        with contextlib.suppress(OSError):
            writer.close()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, scheme: str
    ) -> None:
        while line := await reader.readline():
            method, target, _ = line.decode("latin-1").split(" ", 2)
            headers: dict[str, str] = {}
            while (line := await reader.readline()) not in (b"\r\n", b"\n", b""):
                name, _, value = line.decode("latin-1").partition(":")
                headers[name.strip().lower()] = value.strip()
            if method == "CONNECT":
                return await self._tunnel(reader, writer)
            if headers.get("expect", "").lower() == "100-continue":
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await _body(reader, headers)
            request = Request(len(self.requests), method, target, headers, body, scheme)
            self.requests.append(request)
            fault = self.plan(request)
            secs = self.delay_secs
            if fault and fault.startswith("delay:"):
                secs += float(fault[6:])
            if secs:
                await asyncio.sleep(secs)
            if fault == "reset":
                return writer.transport.abort()
            answer = await self._answer(request, fault)
            if fault == "lost":
                return writer.transport.abort()
            whole = framed(answer)
            if fault == "cut":
                cut = len(whole) - max(1, len(answer.body) // 2)
                writer.write(whole[:cut])
                await writer.drain()
                return None
            writer.write(whole)
            await writer.drain()
        return None

    async def _answer(self, request: Request, fault: str | None) -> Answer:
        if fault is not None and fault.isdigit():
            text = b'{"error": {"code": %s, "message": "injected"}}' % fault.encode()
            return Answer(int(fault), [("Content-Type", "application/json")], text)
        is_session = request.method == "PUT" and "upload_id=" in request.target
        if is_session and request.target in self._finished:
            return self._finished[request.target]  # as the real one; the emulator breaks down
        if re.fullmatch(r"bytes \*/\d+", request.headers.get("content-range", "")):
            return Answer(308, [], b"")  # the server would commit an empty object
        answer = await asyncio.to_thread(forward, self._upstream, request)
        if is_session and answer.status == 200:
            self._finished[request.target] = answer
        return with_wrong_checksum(answer) if fault == "crc" else answer

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._tls_port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_pipe(reader, inner_writer), _pipe(inner_reader, writer))


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "chunked" not in headers.get("transfer-encoding", ""):
        return await reader.readexactly(int(headers.get("content-length", "0")))
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(1 << 16):
            writer.write(chunk)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()
