"""Default locations, and expansion of `~`."""

from __future__ import annotations

import os
from collections.abc import Callable

from trainer.process.errors import UserError
from trainer.settings import vertex_env


def expand_home(paths: str) -> str:
    """Expand `~` in comma-separated paths, because shells do not in `--flag=~/…`."""
    return ",".join(map(os.path.expanduser, paths.split(",")))


def default_cache_dir() -> str:
    """Return `GRAFT_CACHE_DIR`, or the user's cache directory (XDG Base Directory)."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return os.path.expanduser(os.environ.get("GRAFT_CACHE_DIR") or os.path.join(base, "graft"))


def _workdir() -> str:
    found = vertex_env.base_directory()
    if not found:
        raise UserError("--workdir: required; a directory to keep the run in")
    return found


# The value of a setting that is empty.
FALLBACKS: dict[str, Callable[[], str]] = {
    "workdir": _workdir,
    "dataset": lambda: vertex_env.dataset() or "leaves",
    "cache_dir": default_cache_dir,
}
