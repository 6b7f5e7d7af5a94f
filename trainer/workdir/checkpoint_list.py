"""List the checkpoints of a directory.

A checkpoint is a directory `step_<step>`, or `step_<step>_<attempt>` if an earlier attempt at the
same step was interrupted; it is complete once it has a manifest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import trainer
from trainer.process.errors import UserError
from trainer.storage import api as storage

# Version of a checkpoint's variables and RunState. docs/release.md says when to increment it.
FORMAT = 1

_NAME = re.compile(r"step_(\d+)(?:_(\d+))?")


def name_of(step: int, taken: Iterable[str]) -> str:
    """Return a name for a checkpoint of `step` that is not among `taken`."""
    name, attempt = f"step_{step:08d}", 0
    while name in taken:
        attempt += 1
        name = f"step_{step:08d}_{attempt}"
    return name


def step_of(name: str) -> int:
    """Return the step of a checkpoint by its name."""
    return _order(name)[0]


def names(directory: str) -> list[str]:
    """Return the names of the checkpoints in `directory`, complete or not."""
    return list(filter(_NAME.fullmatch, storage.list_names(directory)))


def complete(
    directory: str,
    among: Iterable[str] | None = None,
    known: dict[str, storage.Manifest] | None = None,
) -> Iterator[tuple[str, storage.Manifest]]:
    """Yield name and manifest of each complete checkpoint in `directory`, the newest first.

    Args:
        directory: of the checkpoints.
        among: the names to consider; by default all.
        known: cached manifests by name; those read are added.

    Raises:
        UserError: a newer version of the program wrote it.
    """
    known = {} if known is None else known
    for name in sorted(names(directory) if among is None else among, key=_order, reverse=True):
        if name not in known:
            manifest = storage.read_manifest(storage.join(directory, name))
            if manifest is None or "state" not in manifest.facts:
                continue
            _check_format(storage.join(directory, name), manifest.facts)
            known[name] = manifest
        yield name, known[name]


def _check_format(directory: str, facts: Mapping[str, Any]) -> None:
    """Refuse the checkpoint in `directory` if a newer version wrote it, by its manifest's `facts`.

    Raises:
        UserError: its format is above FORMAT.
    """
    found = facts.get("format", 1)  # 0.1.0 did not write it
    if found > FORMAT:
        raise UserError(
            f"{directory}: a checkpoint of format {found}, made by a newer version; graft "
            f"{trainer.__version__} reads up to format {FORMAT} (graft --version); install the "
            "newer one, or choose another --workdir"
        )


def _order(name: str) -> tuple[int, int]:
    match = _NAME.fullmatch(name)
    assert match is not None
    return int(match[1]), int(match[2] or 0)
