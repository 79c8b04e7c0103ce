"""The system management unit from the host's side: power, clocks, DPM levels. Mirrors ``aie_smu.c``."""

from __future__ import annotations

import errno

from fauxdna.abi import bars
from fauxdna.abi.smu import START, SmuCommand, SmuResult

from ..errors import FirmwareRefused
from .registers import Registers


class Smu:
    """One PF's SMU."""

    def __init__(self, registers: Registers) -> None:
        self._registers = registers

    def start(self) -> None:
        """Power off, then on: a known state, as ``aie_smu_init``."""
        self.execute(SmuCommand.POWER_OFF)
        self.execute(SmuCommand.POWER_ON)

    def stop(self) -> None:
        """Power off."""
        self.execute(SmuCommand.POWER_OFF)

    def set_clocks(self, npu_mhz: int | None = None, h_mhz: int | None = None) -> tuple[int | None, int | None]:
        """Sets the clocks that are given, in MHz, and returns what the SMU chose."""
        npu = None if npu_mhz is None else self.execute(SmuCommand.SET_MPNPUCLK_FREQ, npu_mhz)
        h = None if h_mhz is None else self.execute(SmuCommand.SET_HCLK_FREQ, h_mhz)
        return npu, h

    def set_dpm_level(self, level: int) -> None:
        """Sets the hard, then the soft DPM level."""
        self.execute(SmuCommand.SET_HARD_DPMLEVEL, level)
        self.execute(SmuCommand.SET_SOFT_DPMLEVEL, level)

    def execute(self, command: SmuCommand, argument: int = 0) -> int:
        """Runs one command and returns its result.

        Raises:
            FirmwareRefused: ``EINVAL`` with the SMU's result code.
            DeviceTimeout: ``ETIMEDOUT`` when it does not answer within a second.
        """
        registers = self._registers
        registers.write(bars.SMU_RESPONSE, 0)
        registers.write(bars.SMU_ARGUMENT, argument)
        registers.write(bars.SMU_COMMAND, command)
        registers.write(bars.SMU_INTERRUPT, 0)
        registers.write(bars.SMU_INTERRUPT, START)
        response = registers.poll(bars.SMU_RESPONSE, bool, f"SMU {command.name} does not answer")
        if response != SmuResult.OK:
            raise FirmwareRefused(
                f"SMU refused {command.name} with argument {argument} ({response:#x})",
                "the device's log says why",
                errno=errno.EINVAL,
                response=response,
            )
        return registers.read(bars.SMU_ARGUMENT)
