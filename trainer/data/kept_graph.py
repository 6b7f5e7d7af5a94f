"""A graph that one process makes and later ones find in a file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from trainer import storage
from trainer.errors import UserError
from trainer.graph_file import SavedGraph


def same_of_all_processes(path: str, trace: Callable[[], SavedGraph]) -> SavedGraph:
    """What `trace` returns, from the file at `path` where an earlier process has left it there.

    Whatever stands in the file's way, a graph that is traced anew is right.

    Args:
        path: a local file whose name changes with all that the graph depends on.
        trace: makes the graph.
    """
    try:
        known = SavedGraph.from_bytes(storage.read_bytes(path))
    except OSError:
        known = None
    if known is not None:
        return known
    graph = trace()
    with contextlib.suppress(OSError, UserError):  # full, or only to be read
        storage.write_atomically(path, graph.to_bytes())
    return graph
