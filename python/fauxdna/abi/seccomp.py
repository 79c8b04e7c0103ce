"""seccomp's user notification as Linux has it: operations, flags, classic BPF and the calls of a listener.

Sizes, offsets and values are checked against a C compile of the system's headers.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

from ._declare import Field, Struct

_SOURCE = "Linux include/uapi/linux/seccomp.h"
_FILTER = "Linux include/uapi/linux/filter.h"

PR_SET_NO_NEW_PRIVS: Final = 38
"""``linux/prctl.h``."""
SYS_SECCOMP: Final = 317
"""``seccomp(2)`` on x86-64, ``asm/unistd_64.h``."""
SYS_IOCTL: Final = 16
"""``ioctl(2)`` on x86-64; an x32 caller's number has bit 30 set."""
SET_MODE_FILTER: Final = 1
GET_NOTIF_SIZES: Final = 3
AUDIT_ARCH_X86_64: Final = 0xC000_003E
"""``linux/audit.h``: EM_X86_64, 64 bits, little-endian."""


class FilterFlag(IntFlag):
    """``SECCOMP_FILTER_FLAG_*``."""

    NEW_LISTENER = 1 << 3
    WAIT_KILLABLE_RECV = 1 << 5


class Return(IntEnum):
    """``SECCOMP_RET_*``."""

    USER_NOTIF = 0x7FC0_0000
    ALLOW = 0x7FFF_0000


class Bpf(IntEnum):
    """Classic BPF instructions (``linux/bpf_common.h``)."""

    LOAD_WORD = 0x20
    """``BPF_LD | BPF_W | BPF_ABS``."""
    AND = 0x54
    """``BPF_ALU | BPF_AND | BPF_K``."""
    JUMP_EQUAL = 0x15
    """``BPF_JMP | BPF_JEQ | BPF_K``."""
    RETURN = 0x06
    """``BPF_RET | BPF_K``."""


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
