"""What all workers of a run must have in common, and which of them has it not. Pure."""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Mapping, Sequence

Fingerprint = Mapping[str, str]

_LONGEST = 500
_MOST_NAMED = 5


def shortened(fingerprint: Fingerprint) -> dict[str, str]:
    """`fingerprint` with long values cut, and told apart by a digest of the whole."""
    return {name: _shortened(value) for name, value in fingerprint.items()}


def differences(fingerprints: Sequence[Fingerprint], names: Sequence[str]) -> list[str]:
    """One line per entry in which the workers differ: the odd ones, and what the others have.

    Args:
        fingerprints: of each worker, the chief's first; of two equally common values the chief's
            side is right.
        names: of the workers, as messages name them.
    """
    lines = []
    for key in sorted({key for fingerprint in fingerprints for key in fingerprint}):
        values = [fingerprint.get(key, "nothing") for fingerprint in fingerprints]
        # Of equal counts the first seen comes first.
        (common, count), *others = collections.Counter(values).most_common()
        if not others:
            continue
        odd = [
            f"{name} has {value}"
            for name, value in zip(names, values, strict=True)
            if value != common
        ]
        if len(odd) > _MOST_NAMED:
            odd[_MOST_NAMED:] = [f"{len(odd) - _MOST_NAMED} more differ too"]
        who = names[values.index(common)] + " has" if count == 1 else f"the other {count} have"
        lines.append(f"{key}: {', '.join(odd)}; {who} {common}")
    return lines


def _shortened(value: str) -> str:
    if len(value) <= _LONGEST:
        return value
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{value[: _LONGEST - 100]}… (sha256 {digest[:16]})"
