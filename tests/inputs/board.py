"""TensorBoard, as a real process that is asked over HTTP, and its own reader of event files."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DEADLINE_SECS = 120


class Board:
    """What a page of TensorBoard would ask its server for."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str, body: Any = None) -> bytes:
        """The answer to `path` below /data/, to a POST of JSON where there is a body."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data else {}
        request = urllib.request.Request(f"{self.address}data/{path}", data, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    def json(self, path: str, body: Any = None) -> Any:
        """The same, as JSON."""
        return json.loads(self.get(path, body))


@contextlib.contextmanager
def tensorboard(logdir: Path) -> Iterator[Board]:
    """A process of TensorBoard on `logdir` that has read what is there."""
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={logdir}", "--port=0"]
    options = ["--host=localhost", "--reload_interval=1", "--load_fast=false"]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [*command, *options],
            stdout=said,
            stderr=said,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONWARNINGS": "ignore"},
        )
        try:
            board = Board(_address(process, said))
            deadline = time.monotonic() + DEADLINE_SECS
            while not board.json("runs"):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield board
        finally:
            process.kill()
            process.wait()


def _address(process: subprocess.Popen[bytes], said: Any) -> str:
    deadline = time.monotonic() + DEADLINE_SECS
    while True:
        said.seek(0)
        text = said.read()
        if match := re.search(r"http://\S+/", text):
            return match[0]
        assert process.poll() is None, text
        assert time.monotonic() < deadline, text
        time.sleep(0.1)


def read(directory: Path) -> Any:
    """What TensorBoard's own reader finds in the event files of `directory`."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(directory), size_guidance={"tensors": 0})
    reader.Reload()
    return reader
