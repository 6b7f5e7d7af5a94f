"""The file that makes a directory complete: what lies in it, with a checksum of each file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import google_crc32c

MANIFEST = "MANIFEST.json"


class ChecksumMismatch(Exception):
    """What was published is not what is there; the message says which file, and how."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What makes a directory complete.

    Attributes:
        files: path relative to the directory -> {"size": bytes, "crc32c": 8 hexadecimal digits},
            and in a bucket the "generation" of the object.
        facts: what the publisher says of it (step, digest, ...), in JSON's types.
    """

    files: dict[str, dict[str, Any]]
    facts: dict[str, Any]

    def to_bytes(self) -> bytes:
        """As JSON, with a checksum of its own: facts are worth as much as files."""
        content = dataclasses.asdict(self)
        return to_json({**content, "crc32c": _own_checksum(content)})


def described(directory: str) -> dict[str, dict[str, Any]]:
    """What a manifest says of each file below a local `directory`."""
    return {
        p.relative_to(directory).as_posix(): {"size": p.stat().st_size, "crc32c": crc32c_of(p)}
        for p in sorted(Path(directory).rglob("*"))
        if p.is_file()
    }


def parse(content: bytes) -> Manifest | None:
    """The inverse of Manifest.to_bytes; None where `content` is not whole."""
    try:
        values = json.loads(content)
        files, facts = values["files"], dict(values["facts"])
        if values["crc32c"] != _own_checksum({"files": files, "facts": facts}):
            return None
        for file in files.values():
            int(file["size"]), str(file["crc32c"])
        return Manifest(files, facts)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def to_json(value: Any) -> bytes:
    """JSON as people read it: indented, with a final newline.

    Raises:
        ValueError: it holds a number that is not finite.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8", "surrogatepass")  # names of files may be any bytes


def crc32c(content: bytes) -> str:
    """CRC-32C as 8 hexadecimal digits."""
    return f"{google_crc32c.value(content):08x}"


def crc32c_of(path: Path) -> str:
    """CRC-32C of a file as 8 hexadecimal digits."""
    whole = google_crc32c.Checksum()
    with open(path, "rb") as stream:
        for _ in whole.consume(stream, 1 << 20):
            pass
    return whole.hexdigest().decode()


def _own_checksum(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return crc32c(canonical.encode())
