"""System calls that Python 3.11 does not offer. Imported before a program starts: ctypes and nothing heavier."""

from __future__ import annotations

import ctypes
import os

from fauxdna.abi.linux import SYS_PIDFD_GETFD, SYS_PIVOT_ROOT

_STATFS_WORDS = 15
"""``struct statfs`` of x86-64: 120 bytes, the type first."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)


def unshare(flags: int) -> None:
    """``unshare(2)``."""
    _check(_libc.unshare(flags), None)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """``mount(2)``."""
    _check(_libc.mount(os.fsencode(source), os.fsencode(target), kind.encode() or None, flags, data.encode() or None), target)


def umount(target: str, flags: int) -> None:
    """``umount2(2)``."""
    _check(_libc.umount2(os.fsencode(target), flags), target)


def pivot_root(new_root: str, put_old: str) -> None:
    """``pivot_root(2)``."""
    _check(_libc.syscall(ctypes.c_long(SYS_PIVOT_ROOT), os.fsencode(new_root), os.fsencode(put_old)), new_root)


def file_system(fd: int) -> int:
    """``fstatfs(2)``'s ``f_type``."""
    buffer = (ctypes.c_long * _STATFS_WORDS)()
    _check(_libc.fstatfs(fd, buffer), None)
    return buffer[0]


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """``pidfd_getfd(2)``: a descriptor of ours for another process's."""
    result = _libc.syscall(ctypes.c_long(SYS_PIDFD_GETFD), pidfd, fd, 0)
    _check(result, None)
    return int(result)


def _check(result: int, path: str | None) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
