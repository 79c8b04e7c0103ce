"""The seccomp filter that turns a program's DRM ioctls into notifications: ctypes only, nothing heavy is imported."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from ..abi import linux
from ..errors import Busy, FauxdnaError, Unsupported

_INSTRUCTION, _PROGRAM = "<HBBI", "<H6xQ"
"""``struct sock_filter`` and ``struct sock_fprog``."""
_DRM_TYPE = ord("d")
"""``DRM_IOCTL_BASE``, the type byte of every DRM request (``drm.h``)."""


def filter_program() -> bytes:
    """The filter as ``struct sock_filter`` entries.

    ``ioctl`` by x86-64's own number whose request has DRM's type is notified; all else is allowed, x32 and i386 callers too.
    The number comes first, so the kernel knows every other system call as allowed without running the filter (its action cache).
    """
    # Of the second argument, the request, the low half: this is a little-endian machine.
    argument = linux.SECCOMP_DATA_ARGUMENTS + 8
    rows = [
        (linux.BPF_LOAD_WORD, 0, 0, linux.SECCOMP_DATA_NR),
        (linux.BPF_JUMP_EQUAL, 0, 6, linux.SYS_IOCTL),
        (linux.BPF_LOAD_WORD, 0, 0, linux.SECCOMP_DATA_ARCH),
        (linux.BPF_JUMP_EQUAL, 0, 4, linux.AUDIT_ARCH_X86_64),
        (linux.BPF_LOAD_WORD, 0, 0, argument),
        (linux.BPF_AND, 0, 0, 0xFF00),
        (linux.BPF_JUMP_EQUAL, 0, 1, _DRM_TYPE << 8),
        (linux.BPF_RETURN, 0, 0, linux.SECCOMP_USER_NOTIF),
        (linux.BPF_RETURN, 0, 0, linux.SECCOMP_ALLOW),
    ]
    return b"".join(struct.pack(_INSTRUCTION, *row) for row in rows)


def install_filter() -> int:
    """Puts the filter on this thread and what it starts from now on; gives the listener, a descriptor that closes on exec.

    The caller's DRM ioctls wait from then on until someone answers at the listener. Sets ``no_new_privs``, so setuid programs
    gain nothing. :class:`Busy`: there is a listener already; :class:`Unsupported`: the kernel has no such thing.
    """
    if os.uname().machine != "x86_64":
        raise Unsupported(f"system calls of {os.uname().machine} can't be caught", "run it on x86-64 Linux")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    code = filter_program()
    instructions = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(
        struct.pack(_PROGRAM, len(code) // struct.calcsize(_INSTRUCTION), ctypes.addressof(instructions))
    )
    if libc.prctl(linux.PR_SET_NO_NEW_PRIVS, *(ctypes.c_ulong(value) for value in (1, 0, 0, 0))):
        raise _error("no_new_privs", ctypes.get_errno())
    flags = linux.SECCOMP_NEW_LISTENER | linux.SECCOMP_WAIT_KILLABLE_RECV
    listener = libc.syscall(
        ctypes.c_long(linux.SYS_SECCOMP),
        ctypes.c_ulong(linux.SECCOMP_SET_MODE_FILTER),
        ctypes.c_ulong(flags),
        ctypes.byref(program),
    )
    if listener < 0:
        raise _error("a seccomp listener", ctypes.get_errno())
    return int(listener)


def _error(what: str, number: int) -> FauxdnaError:
    if number == errno.EBUSY:
        return Busy(
            "this process is inside a sandbox that listens to its system calls, and Linux allows one listener",
            "leave the outer `fauxdna exec` or container first",
        )
    if number in (errno.EINVAL, errno.ENOSYS):
        return Unsupported(
            f"the kernel refused {what} ({os.strerror(number)}): Linux 5.19 or later with CONFIG_SECCOMP_FILTER has it",
            "boot a newer kernel; under gVisor and some containers seccomp is not offered, so run outside of them",
        )
    return FauxdnaError(
        f"the kernel refused {what}: {os.strerror(number)}", "look at the container's seccomp profile", errno=number
    )
