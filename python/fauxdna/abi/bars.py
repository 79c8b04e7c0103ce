"""A function's BARs: sizes, and where the mailbox, MSI-X, PSP and SMU registers and the SRAM's parts lie.

BAR numbers, PSP and SMU offsets: Linux 7.2 ``npu3_regs.c`` (``DEFINE_BAR_OFFSET`` of the C2PMSG addresses). Sizes, the mailbox
registers' offsets and the SRAM's division are the device's own (chosen); a driver reads them from :data:`MAILBOX_INFO`.
"""

from __future__ import annotations

from typing import Final

from ._declare import Field, Struct

PAGE_SIZE: Final = 4096

MAILBOX_BAR: Final = 0
MSIX_BAR: Final = 1
SRAM_BAR: Final = 2
PSP_BAR: Final = 4
SMU_BAR: Final = 5

PF_BAR_SIZES: Final = (4096, 4096, 1 << 20, 0, 4096, 4096)
"""Bytes of BAR 0 to 5 of a PF; 0: not there."""
VF_BAR_SIZES: Final = (4096, 4096, 1 << 20, 0, 0, 0)
"""Bytes of BAR 0 to 5 of a VF: it has no PSP and no SMU."""

# --- BAR0: mailbox registers --------------------------------------------------------------------------------------------
X2I_TAIL: Final = 0x100
"""Written by the host, after a message: the message is worked before the write returns."""
X2I_HEAD: Final = 0x104
I2X_TAIL: Final = 0x108
I2X_HEAD: Final = 0x10C
"""Written by the host, after it has taken a message."""

# --- BAR1: MSI-X --------------------------------------------------------------------------------------------------------
MSIX_TABLE: Final = 0
MSIX_PENDING: Final = 0x800
MSIX_VECTORS: Final = 8
MAILBOX_VECTOR: Final = 0
"""Linux 7.2 does not share this vector (``request_irq`` without ``IRQF_SHARED``): contexts use the others."""
CONTEXT_VECTORS: Final = (1, 2, 3, 4, 5, 6, 7)

# --- BAR2: SRAM ---------------------------------------------------------------------------------------------------------
MAILBOX_INFO = Struct(
    "mailbox_info",
    64,
    [
        Field("valid", "u32", doc="1 while firmware runs"),
        Field("protocol_major", "u32"),
        Field("protocol_minor", "u32"),
        Field("x2i_tail_offset", "u32", doc="in BAR0"),
        Field("x2i_head_offset", "u32", doc="in BAR0"),
        Field("x2i_buffer_addr", "u32", doc="in BAR2"),
        Field("x2i_buffer_size", "u32", doc="a power of two"),
        Field("i2x_tail_offset", "u32", doc="in BAR0"),
        Field("i2x_head_offset", "u32", doc="in BAR0"),
        Field("i2x_buffer_addr", "u32", doc="in BAR2"),
        Field("i2x_buffer_size", "u32", doc="a power of two"),
        Field("i2x_msi_idx", "u32"),
        Field("reserved", "u32", count=4),
    ],
    source="Linux 7.2 aie4_pci.c struct mailbox_info",
)
MAILBOX_INFO_OFFSET: Final = 0
"""Linux 7.2 ``NPU3_MBOX_INFO_OFF``."""
X2I_RING: Final = 0x1000
I2X_RING: Final = 0x2000
RING_SIZE: Final = 0x1000
DOORBELLS: Final = 0x10000
"""First doorbell page; one page for each context of the function, up to the end of the SRAM."""
DOORBELL_PAGES: Final = (VF_BAR_SIZES[SRAM_BAR] - DOORBELLS) // PAGE_SIZE

# --- BAR4: PSP ----------------------------------------------------------------------------------------------------------
PSP_COMMAND: Final = 0xAEC
"""C2PMSG_123: command, then command << 24 | size; reads as the status."""
PSP_ARGUMENT0: Final = 0xB70
"""C2PMSG_156: low word of the address; reads as the response."""
PSP_ARGUMENT1: Final = 0xB74
"""C2PMSG_157: high word of the address."""
PSP_INTERRUPT: Final = 0xA24
"""C2PMSG_73: 0, then ``psp.NOTIFY``, starts the command."""

# --- BAR5: SMU ----------------------------------------------------------------------------------------------------------
SMU_INTERRUPT: Final = 0x0
SMU_COMMAND: Final = 0x9EC
"""C2PMSG_59."""
SMU_RESPONSE: Final = 0x9F0
"""C2PMSG_60."""
SMU_ARGUMENT: Final = 0x9F4
"""C2PMSG_61; after a command, its result."""
