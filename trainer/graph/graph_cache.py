"""A graph that one process makes and later ones find in a file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from trainer.graph.saved_graph import SavedGraph
from trainer.process.errors import UserError
from trainer.storage import api as storage

# What nobody has read for so long was traced from sources, or for a size, that are no longer used.
_UNUSED_AFTER_SECS = 30 * 24 * 60 * 60


def same_of_all_processes(path: str, trace: Callable[[], SavedGraph]) -> SavedGraph:
    """What `trace` returns, from the file at `path` where an earlier process has left it there.

    Whatever stands in the file's way, a graph that is traced anew is right. A file's time is that
    of its last use: who writes one removes those beside it that have not been used for 30 days.

    Args:
        path: a local file, KIND-DIGEST….pb, whose name changes with all that the graph depends on;
            under another name its content counts as damaged.
        trace: makes the graph.
    """
    name = os.path.basename(path)
    try:
        known = SavedGraph.from_bytes(storage.read_bytes(path), name)
    except OSError:
        known = None
    if known is not None:
        with contextlib.suppress(OSError):  # another user's
            os.utime(path)
        return known
    graph = trace()
    with contextlib.suppress(OSError, UserError):  # full, or only to be read
        storage.write_atomically(path, graph.to_bytes(name))
        _sweep(Path(path))
    return graph


def _sweep(written: Path) -> None:
    """Who has a file open reads on when it is gone; who comes too late traces."""
    kind = written.name.partition("-")[0]
    now = written.stat().st_mtime  # by the store's clock, as the others' times
    for path in written.parent.glob(f"{kind}-*.pb"):
        with contextlib.suppress(OSError):  # gone already, or another user's
            if now - path.stat().st_mtime > _UNUSED_AFTER_SECS:
                path.unlink()
