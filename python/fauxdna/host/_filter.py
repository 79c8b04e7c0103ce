"""The seccomp filter that turns a program's DRM ioctls into notifications: ctypes only, nothing heavy is imported."""

from __future__ import annotations

import ctypes
import errno
import os

from ..abi import seccomp
from ..abi.seccomp import Bpf, FilterFlag, Return
from ..errors import Busy, FauxdnaError, Unsupported

_DRM_TYPE = ord("d")
"""``DRM_IOCTL_BASE``, the type byte of every DRM request (``drm.h``)."""


def filter_program() -> bytes:
    """The filter as ``struct sock_filter`` entries.

    ``ioctl`` by x86-64's own number whose request has DRM's type is notified; all else is allowed, x32 and i386 callers too.
    The number comes first, so the kernel knows every other system call as allowed without running the filter (its action cache).
    """
    argument = seccomp.DATA.offsets["args"] + 8
    allow, notify = Return.ALLOW, Return.USER_NOTIF
    rows = [
        (Bpf.LOAD_WORD, 0, 0, seccomp.DATA.offsets["nr"]),
        (Bpf.JUMP_EQUAL, 0, 6, seccomp.SYS_IOCTL),
        (Bpf.LOAD_WORD, 0, 0, seccomp.DATA.offsets["arch"]),
        (Bpf.JUMP_EQUAL, 0, 4, seccomp.AUDIT_ARCH_X86_64),
        (Bpf.LOAD_WORD, 0, 0, argument),
        (Bpf.AND, 0, 0, 0xFF00),
        (Bpf.JUMP_EQUAL, 0, 1, _DRM_TYPE << 8),
        (Bpf.RETURN, 0, 0, notify),
        (Bpf.RETURN, 0, 0, allow),
    ]
    return b"".join(seccomp.BPF_INSTRUCTION.pack(code=code, jt=jt, jf=jf, k=k) for code, jt, jf, k in rows)


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
        seccomp.BPF_PROGRAM.pack(len=len(code) // seccomp.BPF_INSTRUCTION.size, filter=ctypes.addressof(instructions)),
        seccomp.BPF_PROGRAM.size,
    )
    if libc.prctl(seccomp.PR_SET_NO_NEW_PRIVS, *(ctypes.c_ulong(value) for value in (1, 0, 0, 0))):
        raise _error("no_new_privs", ctypes.get_errno())
    flags = FilterFlag.NEW_LISTENER | FilterFlag.WAIT_KILLABLE_RECV
    listener = libc.syscall(
        ctypes.c_long(seccomp.SYS_SECCOMP),
        ctypes.c_ulong(seccomp.SET_MODE_FILTER),
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
