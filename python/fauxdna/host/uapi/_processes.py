"""What Linux tells of a sandbox's processes: who maps what of a node's file, and what a caller is allowed."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")


class LinuxCapability(IntEnum):
    """``CAP_*`` of ``linux/capability.h``."""

    IPC_LOCK = 14
    SYS_ADMIN = 21


@dataclass(frozen=True)
class Area:
    """One line of ``/proc/PID/maps``."""

    start: int
    end: int
    writable: bool
    device: int
    inode: int
    offset: int


def areas(pid: int, inode: int | None = None) -> Iterator[Area]:
    """The mappings of a process, in order of address; of the file with ``inode`` alone, if given. None if it is gone."""
    try:
        text = (_PROC / str(pid) / "maps").read_bytes()
    except OSError:
        return
    wanted = None if inode is None else b" %d " % inode
    for line in text.splitlines():
        # Most lines of most processes are of no interest: splitting them costs more than reading them.
        if wanted is not None and wanted not in line + b" ":
            continue
        span, rights, offset, device, number, *_ = line.split(None, 5)
        start, _, end = span.partition(b"-")
        major, _, minor = device.partition(b":")
        area = Area(
            int(start, 16),
            int(end, 16),
            rights[1:2] == b"w",
            os.makedev(int(major, 16), int(minor, 16)),
            int(number),
            int(offset, 16),
        )
        if inode is None or area.inode == inode:
            yield area


def namespace(pid: int, kind: str) -> int | None:
    """The number of a namespace (``mnt``, ``user``) that a process is in; None if it is gone."""
    try:
        return os.stat(_PROC / str(pid) / "ns" / kind).st_ino
    except OSError:
        return None


def processes(mounts: set[int]) -> list[int]:
    """Processes in one of these mount namespaces, without this one, which maps what devices reach."""
    pids = [int(entry) for entry in os.listdir(_PROC) if entry.isdigit()]
    return [pid for pid in pids if pid != os.getpid() and namespace(pid, "mnt") in mounts]


def mapped(identity: tuple[int, int], mounts: set[int]) -> list[tuple[int, int]]:
    """Ranges of a file that processes in these mount namespaces map: (start, end) in the file.

    A process that forks while it is looked at leaves its mappings to its child: the look is over when no new process appears.
    """
    device, inode = identity
    found: list[tuple[int, int]] = []
    seen: set[int] = set()
    while new := set(processes(mounts)) - seen:
        for pid in new:
            for area in areas(pid, inode):
                if area.device == device:
                    found.append((area.offset, area.offset + area.end - area.start))
        seen |= new
    return found


def owner(pid: int) -> int | None:
    """The user whose process it is, by our user namespace's numbers; None if it is gone."""
    with suppress(OSError, ValueError):
        for line in (_PROC / str(pid) / "status").read_bytes().splitlines():
            if line.startswith(b"Uid:"):
                return int(line.split()[2])
    return None


def capable(pid: int, capability: LinuxCapability) -> bool:
    """Whether a thread has a capability over the machine: in our user namespace, as the kernel asks for the initial one."""
    if namespace(pid, "user") != namespace(os.getpid(), "user"):
        return False
    with suppress(OSError, ValueError):
        for line in (_PROC / str(pid) / "status").read_bytes().splitlines():
            if line.startswith(b"CapEff:"):
                return bool(int(line.split()[1], 16) >> capability & 1)
    return False


def lock_limit(pid: int) -> int:
    """A process's soft RLIMIT_MEMLOCK, in bytes; 0 if it is gone, a huge number if there is none."""
    try:
        soft, _ = resource.prlimit(pid, resource.RLIMIT_MEMLOCK)
    except OSError:
        soft = _limit_in_proc(pid)
    return (1 << 64) - 1 if soft == resource.RLIM_INFINITY else soft


def _limit_in_proc(pid: int) -> int:
    """The same for a process of another user."""
    with suppress(OSError, ValueError):
        for line in (_PROC / str(pid) / "limits").read_text().splitlines():
            if line.startswith("Max locked memory"):
                word = line.removeprefix("Max locked memory").split()[0]
                return resource.RLIM_INFINITY if word == "unlimited" else int(word)
    return 0
