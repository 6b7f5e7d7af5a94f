"""Cache traced graphs for later processes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer.graph.saved_graph import SavedGraph
from trainer.process.errors import UserError
from trainer.storage import artifacts

_FILE = "graph.pb"


def load_or_trace(
    path: str,
    trace: Callable[[], tuple[SavedGraph, dict[str, Any]]],
    unused_secs: float = math.inf,
) -> tuple[SavedGraph, dict[str, Any]]:
    """Load the graph cached at `path`, or `trace` and cache it.

    If the cache cannot be used, the graph is traced.

    Args:
        path: in a cache, KIND-DIGEST…, which changes with all that the graph depends on.
        trace: returns the graph, and facts about it in JSON types.
        unused_secs: see artifacts.get_or_create.
    """
    begun, traced = [], []

    def write(directory: str) -> dict[str, Any]:
        begun.append(directory)
        traced.append(trace())
        graph, facts = traced[0]
        Path(directory, _FILE).write_bytes(graph.to_bytes())
        return facts

    cache_dir, name = os.path.split(path)
    try:
        kept, facts = artifacts.get_or_create(
            cache_dir, name, write, is_checked=True, unused_secs=unused_secs
        )
        if not traced:
            return SavedGraph.from_bytes(Path(kept, _FILE).read_bytes()), facts
    except (OSError, UserError):  # full, read-only, or swept just now
        if begun and not traced:
            raise
    return traced[0] if traced else trace()
