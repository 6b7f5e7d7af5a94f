"""Record the code, libraries and commit that produced a run."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from typing import Any

import trainer

_LIBRARIES = ("tensorflow", "tensorflow-cpu", "tf-keras", "tensorflow-hub", "tensorflow-datasets")


def versions() -> dict[str, str]:
    """Return the versions of Graft, Python and the numerical libraries."""
    found = {"graft": trainer.__version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Return the commit of the checkout that this code runs from, None outside a checkout.

    A container image has no checkout and sets GRAFT_GIT_COMMIT instead.
    """
    if os.environ.get("GRAFT_GIT_COMMIT"):
        return os.environ["GRAFT_GIT_COMMIT"]
    here = os.path.dirname(os.path.abspath(__file__))
    # An environment inside some other checkout is not tracked by it.
    tracked = _git(here, "ls-files", "--error-unmatch", os.path.basename(__file__))
    return _git(here, "rev-parse", "HEAD") if tracked else None


def describe() -> dict[str, Any]:
    """Return versions and commit, as stored in `config.json`."""
    return {"versions": versions(), "git_commit": git_commit()}


def _git(directory: str, *arguments: str) -> str | None:
    command = ["git", "-C", directory, *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
