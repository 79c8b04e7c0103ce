"""PSP commands and responses: Linux 7.2 ``aie_psp.c``. Registers are in :mod:`fauxdna.abi.bars`."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class PspCommand(IntEnum):
    """PSP commands (``PSP_VALIDATE`` and following)."""

    VALIDATE = 1
    START = 2
    RELEASE_TMR = 3
    VALIDATE_CERT = 4


class PspResponse(IntEnum):
    """PSP responses; Linux answers any other than OK with ``EIO``."""

    OK = 0
    CANCEL = 0xFFFF0002
    BAD_STATE = 0xFFFF0007


STATUS_READY: Final = 1 << 31
START_COPY_FIRMWARE: Final = 1
NOTIFY: Final = 0xD007BE11
"""``aie4_pci.c`` ``PSP_NOTIFY_INTR``."""
COMMAND_SHIFT: Final = 24
SIZE_MASK: Final = (1 << COMMAND_SHIFT) - 1
NPU_ALIGNMENT: Final = 0x10000
"""The driver aligns and rounds an npu image to this (``PSP_FW_ALIGN``), with an uninitialised tail."""
CERT_ALIGNMENT: Final = 0x8000
"""The same for a cert image (``PSP_CFW_ALIGN``)."""
