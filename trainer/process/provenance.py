"""Which code, libraries and commit a run was made with."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from typing import Any

import trainer

_LIBRARIES = ("tensorflow", "tensorflow-cpu", "tf-keras", "tensorflow-hub", "tensorflow-datasets")


def versions() -> dict[str, str]:
    """Versions of Graft, of Python, and of the libraries that compute."""
    found = {"graft": trainer.__version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """The commit of the checkout that this code runs from; None where it is no checkout.

    A container's image has none, and says it in GRAFT_GIT_COMMIT.
    """
    if os.environ.get("GRAFT_GIT_COMMIT"):
        return os.environ["GRAFT_GIT_COMMIT"]
    here = os.path.dirname(os.path.abspath(__file__))
    # Installed into an environment inside of somebody's checkout, we are not what it tracks.
    tracked = _git(here, "ls-files", "--error-unmatch", os.path.basename(__file__))
    return _git(here, "rev-parse", "HEAD") if tracked else None


def describe() -> dict[str, Any]:
    """Both, as `config.json` holds them."""
    return {"versions": versions(), "git_commit": git_commit()}


def _git(directory: str, *arguments: str) -> str | None:
    command = ["git", "-C", directory, *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
