"""Descriptors that others handed over: nothing is done to one before it is known to be harmless.

Almost any call on a file of someone's FUSE file system waits for its owner, ``fstat`` and ``close`` too, and closing a socket may
linger. What is asked here is answered by the kernel alone.
"""

from __future__ import annotations

import fcntl
import os
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Final

from fauxdna.abi.linux import TMPFS_MAGIC
from fauxdna.errors import InvalidArgument

from . import _system

_LISTENER: Final = "anon_inode:seccomp notify"
"""What ``/proc/PID/fd`` calls a seccomp listener (``kernel/seccomp.c``)."""


def is_listener(descriptor: int) -> bool:
    """Whether it came from ``seccomp(2)``."""
    return os.readlink(f"/proc/self/fd/{descriptor}") == _LISTENER


def is_memory(descriptor: int) -> bool:
    """Whether it is a memfd or a file of a tmpfs with small pages: only those have seals (``memfd_fcntl``)."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:
        return False
    # hugetlbfs has seals as well.
    return _system.file_system(descriptor) == TMPFS_MAGIC


def check(listener: int, files: Sequence[int]) -> None:
    """Raises :class:`InvalidArgument` unless these are a sandbox's listener and its device files."""
    if not is_listener(listener):
        raise InvalidArgument("the first descriptor is no seccomp listener", "send what fauxdna exec sends")
    for index, file in enumerate(files):
        if not is_memory(file) or fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDWR:
            raise InvalidArgument(
                f"device file {index} is no memfd and no file of a tmpfs, open for reading and writing",
                "send what fauxdna exec sends",
            )


def discard(descriptors: Sequence[int], done: Callable[[], None] = lambda: None) -> None:
    """Closes them; those that may hold the caller up on a thread of their own. Then calls ``done``, on any thread."""
    doubtful = []
    for descriptor in descriptors:
        if is_listener(descriptor) or is_memory(descriptor):
            os.close(descriptor)
        else:
            doubtful.append(descriptor)

    def close() -> None:
        for descriptor in doubtful:
            os.close(descriptor)
        done()

    if doubtful:
        threading.Thread(target=close, daemon=True, name="discard").start()
    else:
        done()


def hang_up(link: socket.socket, done: Callable[[], None] = lambda: None) -> None:
    """Closes a stranger's connection on a thread of its own, then calls ``done``: what he sent and nobody read goes with it."""

    def close() -> None:
        link.close()
        done()

    threading.Thread(target=close, daemon=True, name="hang-up").start()
