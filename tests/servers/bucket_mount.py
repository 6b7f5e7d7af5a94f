"""A mount as gcsfuse makes one, by FUSE: an object is written when its file is closed or synced.

    python -m tests.servers.bucket_mount BACKING_DIRECTORY MOUNT_POINT

A rename is a copy and then a deletion, and of a directory refused; there are no links, and a
directory cannot be synced. Each put, rename and deletion adds a line to BACKING_DIRECTORY.log.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import mfusepy as fuse


class Bucket(fuse.Operations):
    """Objects are the files below `root`."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._opened: dict[int, bytearray] = {}
        self._changed: set[int] = set()
        self._last = 0

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        found = os.lstat(self._root + path)
        names = "mode", "nlink", "uid", "gid", "size", "atime", "mtime", "ctime"
        facts = {f"st_{name}": getattr(found, f"st_{name}") for name in names}
        if fh in self._opened:
            facts["st_size"] = len(self._opened[fh])
        return facts

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *os.listdir(self._root + path)]

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self._root + path)

    def rmdir(self, path: str) -> None:
        os.rmdir(self._root + path)

    def unlink(self, path: str) -> None:
        os.unlink(self._root + path)
        self._note("delete", path)

    def chmod(self, path: str, mode: int) -> int:
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        return 0

    def utimens(self, path: str, times: Any = None) -> int:
        return 0

    def rename(self, old: str, new: str) -> None:
        if os.path.isdir(self._root + old):
            raise fuse.FuseOSError(errno.EOPNOTSUPP)
        self._note("rename", old, new)
        with open(self._root + old, "rb") as source, open(self._root + new, "wb") as target:
            target.write(source.read())
        os.unlink(self._root + old)

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        open(self._root + path, "wb").close()
        return self._new(b"")

    def open(self, path: str, flags: int) -> int:
        with open(self._root + path, "rb") as stream:
            return self._new(b"" if flags & os.O_TRUNC else stream.read())

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return bytes(self._opened[fh][offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._opened[fh].extend(bytes(max(0, offset - len(self._opened[fh]))))
        self._opened[fh][offset : offset + len(data)] = data
        self._changed.add(fh)
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        if fh in self._opened:
            self._opened[fh] = self._opened[fh][:length].ljust(length, b"\0")
            self._changed.add(fh)
        else:
            os.truncate(self._root + path, length)

    def flush(self, path: str, fh: int) -> int:
        if fh in self._changed and os.path.exists(self._root + path):
            with open(self._root + path, "wb") as stream:
                stream.write(self._opened[fh])
            self._note("put", path)
        self._changed.discard(fh)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        return self.flush(path, fh)

    def release(self, path: str, fh: int) -> int:
        self.flush(path, fh)
        del self._opened[fh]
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        raise fuse.FuseOSError(errno.ENOSYS)

    def link(self, target: str, source: str) -> int:
        raise fuse.FuseOSError(errno.ENOSYS)

    def symlink(self, target: str, source: str) -> int:
        raise fuse.FuseOSError(errno.ENOSYS)

    def statfs(self, path: str) -> dict[str, int]:
        return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": 1 << 30, "f_bavail": 1 << 30}

    def _note(self, *words: str) -> None:
        with open(f"{self._root}.log", "a", encoding="utf-8") as log:
            print(*words, file=log)

    def _new(self, content: bytes) -> int:
        self._last += 1
        self._opened[self._last] = bytearray(content)
        return self._last


if __name__ == "__main__":
    fuse.FUSE(Bucket(sys.argv[1]), sys.argv[2], foreground=True, nothreads=True)
