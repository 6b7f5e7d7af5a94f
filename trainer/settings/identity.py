"""The identity of a run, which a resumed run must share: digest and comparison."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest(identity: dict[str, Any]) -> str:
    """Return 16 hexadecimal digits of an identity's SHA-256."""
    canonical = json.dumps(identity, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return a line for each entry that differs: name, value of the run, value now."""
    return [
        f"{name}: {quoted(then.get(name))} there, {quoted(now.get(name))} now"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]


def quoted(value: Any) -> str:
    """Format a setting's value as typed after its flag."""
    if isinstance(value, (tuple, list)):
        return ",".join(map(str, value))
    return str(value)
