"""Compare what all workers of a run must have in common. Pure."""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Mapping, Sequence

Fingerprint = Mapping[str, str]

_LONGEST = 500
_MOST_NAMED = 5


def shortened(fingerprint: Fingerprint) -> dict[str, str]:
    """Truncate the long values of `fingerprint`, and add a digest to distinguish them."""
    return {name: _shortened(value) for name, value in fingerprint.items()}


def differences(fingerprints: Sequence[Fingerprint], names: Sequence[str]) -> list[str]:
    """Return a line per differing entry: the workers that deviate, and the majority's value.

    Args:
        fingerprints: of each worker, the chief's first; on a tie the chief's value counts as the
            majority's.
        names: of the workers in messages.
    """
    lines = []
    for key in sorted({key for fingerprint in fingerprints for key in fingerprint}):
        values = [fingerprint.get(key, "nothing") for fingerprint in fingerprints]
        # Equal counts keep their order.
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
