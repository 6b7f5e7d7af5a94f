"""Requests and answers as the fault proxy passes them on."""

from __future__ import annotations

import http.client
import re
from typing import NamedTuple


class Request(NamedTuple):
    """What a client asked for.

    Attributes:
        number: from 0, in the order of arrival.
        target: path and query.
        scheme: http, or https for what came through CONNECT.
    """

    number: int
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    scheme: str


class Answer(NamedTuple):
    """What goes back."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def forward(port: int, request: Request) -> Answer:
    """What the server on `port` answers; addresses in it are those that the client used."""
    dropped = ("transfer-encoding", "content-length", "expect", "connection", "accept-encoding")
    headers = {name: value for name, value in request.headers.items() if name not in dropped}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(request.method, request.target, request.body, headers)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    base = f"{request.scheme}://{request.headers['host']}"
    kept = []
    for name, value in response.getheaders():
        if name.lower() == "location":
            value = re.sub(r"^https?://[^/]+", base, value)
        if name.lower() not in ("transfer-encoding", "content-length", "connection"):
            kept.append((name, value))
    if request.method == "HEAD":
        kept.append(("Content-Length", response.getheader("Content-Length") or "0"))
    return Answer(response.status, kept, body)


def framed(answer: Answer) -> bytes:
    """As it goes over the wire."""
    lines = [f"HTTP/1.1 {answer.status} {http.client.responses.get(answer.status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    if not any(name == "Content-Length" for name, _ in answer.headers):
        lines.append(f"Content-Length: {len(answer.body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + answer.body


def with_wrong_checksum(answer: Answer) -> Answer:
    """An upload's answer names another checksum; a download has one bit flipped."""
    if not any(name.lower() == "x-goog-hash" for name, _ in answer.headers):
        body = re.sub(rb'"crc32c":\s*"[^"]+"', b'"crc32c":"AAAAAQ=="', answer.body)
    else:
        middle = len(answer.body) // 2
        flipped = bytes(byte ^ 1 for byte in answer.body[middle : middle + 1])
        body = answer.body[:middle] + flipped + answer.body[middle + 1 :]
    return answer._replace(body=body)
