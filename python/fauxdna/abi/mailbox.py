"""The mailbox: message header, tombstone, and the rules of its two rings. Linux 7.2 ``amdxdna_mailbox.c``.

A ring is a power of two bytes. Its head and tail registers hold byte offsets; head == tail is empty. A message lies in one piece;
where none fits before the end, the writer leaves a tombstone in place of the next message's size and goes on at 0. The last word
of a ring is kept for the tombstone.
"""

from __future__ import annotations

from typing import Final

from ._declare import Bits, Field, Struct, Words

_SOURCE = "Linux 7.2 amdxdna_mailbox.c"

HEADER = Struct(
    "mailbox_header",
    16,
    [
        Field("total_size", "u32", doc="bytes of payload, a multiple of 4"),
        Field("size_version", "u32"),
        Field("id", "u32"),
        Field("opcode", "u32"),
    ],
    source=_SOURCE + " struct xdna_msg_header",
)
SIZE_VERSION = Words(
    "size_version",
    1,
    [Bits("size", 0, 10, 0), Bits("version", 0, 23, 16)],
    source=_SOURCE + " MSG_BODY_SZ, MSG_PROTO_VER",
)
VERSION: Final = 1
"""``MSG_PROTOCOL_VERSION``."""
ID_MAGIC: Final = 0x1D000000
ID_MAGIC_MASK: Final = 0xFF000000
IDS: Final = 256
"""``MAX_MSG_ID_ENTRIES``: messages that may be under way at once."""
TOMBSTONE: Final = 0xDEADFACE
TOMBSTONE_SIZE: Final = 4
