"""SMU: the power controller's registers in the PF's BAR5."""

from __future__ import annotations

from collections.abc import Callable

from fauxdna.abi import bars
from fauxdna.abi.smu import START, SmuCommand, SmuResult
from fauxdna.log import Logger

from .power import Power


class Smu:
    """Executes a command when START is written to the interrupt register; the response is there before the write returns."""

    def __init__(self, power: Power, power_off: Callable[[], None], logger: Logger) -> None:
        self._power = power
        self._power_off = power_off
        self._log = logger
        self._registers = dict.fromkeys((bars.SMU_INTERRUPT, bars.SMU_COMMAND, bars.SMU_RESPONSE, bars.SMU_ARGUMENT), 0)

    def reset(self) -> None:
        """Registers as after power-up. Power stays as it is."""
        self._registers = dict.fromkeys(self._registers, 0)

    def read(self, offset: int) -> int:
        """The word at ``offset`` of BAR5."""
        return self._registers.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """Writes the word at ``offset`` of BAR5."""
        if offset not in self._registers:
            return
        self._registers[offset] = value
        if offset == bars.SMU_INTERRUPT and value == START:
            self._registers[bars.SMU_RESPONSE] = self._execute(
                self._registers[bars.SMU_COMMAND], self._registers[bars.SMU_ARGUMENT]
            )

    def _execute(self, command: int, argument: int) -> SmuResult:
        if command not in set(SmuCommand):
            self._log.error(f"command {command} is not known")
            return SmuResult.UNKNOWN_COMMAND
        name = SmuCommand(command).name
        if command == SmuCommand.POWER_ON:
            self._power.turn_on()
        elif command == SmuCommand.POWER_OFF:
            self._power_off()
            self._power.turn_off()
        elif not self._power.on:
            self._log.error(f"{name} refused: power is off; send POWER_ON first")
            return SmuResult.REJECTED_PREREQUISITE
        elif not self._set(SmuCommand(command), argument):
            self._log.error(f"{name} refused: the DPM table has no level {argument}")
            return SmuResult.FAILED
        self._log.info(f"{name}: {self._power}")
        return SmuResult.OK

    def _set(self, command: SmuCommand, argument: int) -> bool:
        if command is SmuCommand.SET_SOFT_DPMLEVEL:
            return self._power.set_soft_level(argument)
        if command is SmuCommand.SET_HARD_DPMLEVEL:
            return self._power.set_hard_level(argument)
        setter = self._power.set_npuclk if command is SmuCommand.SET_MPNPUCLK_FREQ else self._power.set_hclk
        self._registers[bars.SMU_ARGUMENT] = setter(argument)
        return True
