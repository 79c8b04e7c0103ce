"""seccomp's user notification as Linux has it: operations, flags, classic BPF and the calls of a listener.

The numbers that the filter needs are those of :mod:`fauxdna.abi.linux`, which costs nothing to import. Sizes, offsets and values
are checked against a C compile of the system's headers.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

from . import linux
from ._declare import Field, Struct

_SOURCE = "Linux include/uapi/linux/seccomp.h"
_FILTER = "Linux include/uapi/linux/filter.h"

PR_SET_NO_NEW_PRIVS: Final = linux.PR_SET_NO_NEW_PRIVS
SYS_SECCOMP: Final = linux.SYS_SECCOMP
SYS_IOCTL: Final = linux.SYS_IOCTL
SET_MODE_FILTER: Final = linux.SECCOMP_SET_MODE_FILTER
GET_NOTIF_SIZES: Final = 3
AUDIT_ARCH_X86_64: Final = linux.AUDIT_ARCH_X86_64


class FilterFlag(IntFlag):
    """``SECCOMP_FILTER_FLAG_*``."""

    NEW_LISTENER = linux.SECCOMP_NEW_LISTENER
    WAIT_KILLABLE_RECV = linux.SECCOMP_WAIT_KILLABLE_RECV


class Return(IntEnum):
    """``SECCOMP_RET_*``."""

    USER_NOTIF = linux.SECCOMP_USER_NOTIF
    ALLOW = linux.SECCOMP_ALLOW


class Bpf(IntEnum):
    """Classic BPF instructions (``linux/bpf_common.h``)."""

    LOAD_WORD = linux.BPF_LOAD_WORD
    AND = linux.BPF_AND
    JUMP_EQUAL = linux.BPF_JUMP_EQUAL
    RETURN = linux.BPF_RETURN


BPF_INSTRUCTION: Final = Struct(
    "sock_filter", 8, [Field("code", "u16"), Field("jt", "u8"), Field("jf", "u8"), Field("k", "u32")], source=_FILTER
)
BPF_PROGRAM: Final = Struct(
    "sock_fprog", 16, [Field("len", "u16"), Field("pad", "u16", 3), Field("filter", "u64")], source=_FILTER
)
DATA: Final = Struct(
    "seccomp_data",
    64,
    [Field("nr", "i32"), Field("arch", "u32"), Field("instruction_pointer", "u64"), Field("args", "u64", 6)],
    source=_SOURCE,
)
NOTIFICATION_SIZES: Final = Struct(
    "seccomp_notif_sizes",
    6,
    [Field("seccomp_notif", "u16"), Field("seccomp_notif_resp", "u16"), Field("seccomp_data", "u16")],
    source=_SOURCE,
)
