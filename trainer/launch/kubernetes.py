"""A run on Kubernetes."""

from __future__ import annotations

from typing import Any

from trainer.command_line import Groups
from trainer.launch.request import Request

FLAGS: Groups = {}


def submit(request: Request, values: dict[str, Any]) -> int:
    """Create the job of `request`; returns the exit code."""
    raise NotImplementedError
