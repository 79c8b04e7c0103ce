"""SMU commands and results: Linux 7.2 ``aie_smu.c``. Registers are in :mod:`fauxdna.abi.bars`, the DPM table in ``timing``."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class SmuCommand(IntEnum):
    """SMU commands (``AIE_SMU_POWER_ON`` and following)."""

    POWER_ON = 3
    POWER_OFF = 4
    SET_MPNPUCLK_FREQ = 5
    SET_HCLK_FREQ = 6
    SET_SOFT_DPMLEVEL = 7
    SET_HARD_DPMLEVEL = 8


class SmuResult(IntEnum):
    """SMU results; 0 is "not yet". Linux answers any other than OK with ``EINVAL``.

    The failures have the values that AMD's SMUs give them (Linux ``drivers/gpu/drm/amd/pm``, ``PPSMC_Result_*``).
    """

    OK = 0x1
    REJECTED_PREREQUISITE = 0xFD
    UNKNOWN_COMMAND = 0xFE
    FAILED = 0xFF


START: Final = 1
"""Written to the interrupt register, after 0, to start the command."""
