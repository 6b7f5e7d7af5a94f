"""The identity of a run: what a resumption must share with it, named, compared and quoted."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest(identity: dict[str, Any]) -> str:
    """A short name for an identity: 16 hexadecimal digits of its SHA-256."""
    canonical = json.dumps(identity, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """One line per entry in which two identities differ: name, the value then, the value now."""
    return [
        f"{name}: {quoted(then.get(name))} there, {quoted(now.get(name))} now"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]


def quoted(value: Any) -> str:
    """A setting as one writes it after its flag."""
    if isinstance(value, (tuple, list)):
        return ",".join(map(str, value))
    return str(value)
