"""The manifest, which marks a directory as complete and lists its files' checksums."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import google_crc32c

MANIFEST = "MANIFEST.json"


class ChecksumMismatch(Exception):
    """A published file does not match its manifest; the message names the file."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The content of a complete directory.

    Attributes:
        files: path relative to the directory -> {"size": bytes, "crc32c": 8 hexadecimal digits},
            and in a bucket the "generation" of the object.
        facts: the publisher's metadata (step, digest, ...), in JSON types.
    """

    files: dict[str, dict[str, Any]]
    facts: dict[str, Any]

    def to_bytes(self) -> bytes:
        """Serialize as JSON, with a checksum of the manifest itself."""
        content = dataclasses.asdict(self)
        return to_json({**content, "crc32c": _own_checksum(content)})


def file_entries(directory: str) -> dict[str, dict[str, Any]]:
    """Return the manifest's entry of each file below a local `directory`."""
    return {
        p.relative_to(directory).as_posix(): {"size": p.stat().st_size, "crc32c": crc32c_of(p)}
        for p in sorted(Path(directory).rglob("*"))
        if p.is_file()
    }


def parse(content: bytes) -> Manifest | None:
    """Parse what Manifest.to_bytes returned; None if `content` is corrupt."""
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
    """Serialize as indented JSON with a final newline.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8", "surrogatepass")  # file names may be any bytes


def crc32c(content: bytes) -> str:
    """Return the CRC-32C of `content` as 8 hexadecimal digits."""
    return f"{google_crc32c.value(content):08x}"


def crc32c_of(path: Path) -> str:
    """Return the CRC-32C of a file as 8 hexadecimal digits."""
    checksum = google_crc32c.Checksum()
    with open(path, "rb") as stream:
        for _ in checksum.consume(stream, 1 << 20):
            pass
    return checksum.hexdigest().decode()


def _own_checksum(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return crc32c(canonical.encode())
