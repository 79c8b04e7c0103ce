"""Archives that Linux unpacks as its initial root: cpio in the "newc" format.

Format: Linux 7.2 ``Documentation/driver-api/early-userspace/buffer-format.rst``. Archives may follow one another.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

_MAGIC: Final = b"070701"
_TRAILER: Final = "TRAILER!!!"
_ALIGNMENT: Final = 4


class Cpio:
    """An archive of files, folders, symbolic links and character devices, all owned by root. Parents are made on the way."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[int, bytes, tuple[int, int]]] = {}

    def file(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        """A regular file; a later one of the same name takes its place."""
        self._add(path, stat.S_IFREG | mode, content)

    def folder(self, path: str) -> None:
        """An empty folder."""
        self._add(path, stat.S_IFDIR | 0o755, b"")

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        self._add(path, stat.S_IFLNK | 0o777, target.encode())

    def device(self, path: str, major: int, minor: int) -> None:
        """A character device."""
        self._add(path, stat.S_IFCHR | 0o600, b"", (major, minor))

    def pack(self) -> bytes:
        """The archive's bytes, padded so that another may follow."""
        return b"".join(self._pack())

    def _add(self, path: str, mode: int, content: bytes, device: tuple[int, int] = (0, 0)) -> None:
        name = path.strip("/")
        for parent in reversed(PurePosixPath(name).parents):
            if str(parent) != ".":
                self._entries.setdefault(str(parent), (stat.S_IFDIR | 0o755, b"", (0, 0)))
        self._entries[name] = (mode, content, device)

    def _pack(self) -> Iterator[bytes]:
        for inode, (name, (mode, content, device)) in enumerate(self._entries.items(), 1):
            yield _entry(name, inode, mode, content, device)
        yield _entry(_TRAILER, 0, 0, b"", (0, 0))


def _entry(name: str, inode: int, mode: int, content: bytes, device: tuple[int, int]) -> bytes:
    raw = name.encode() + b"\0"
    # inode, mode, uid, gid, links, mtime, size, device major and minor, special file's major and minor, name's size, check
    fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(raw), 0)
    header = _MAGIC + b"".join(b"%08x" % field for field in fields)
    return _padded(header + raw) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)
