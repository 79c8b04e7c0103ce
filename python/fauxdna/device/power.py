"""Power and clocks of a die: on or off, DPM levels, and the frequencies that follow."""

from __future__ import annotations

from fauxdna import _core
from fauxdna.abi import timing

_NPU, _HCLK = 0, 1


class Power:
    """What the SMU controls. Frequencies are in MHz and come from the DPM table only."""

    def __init__(self, engine: _core.Engine) -> None:
        self._engine = engine
        self.on = False
        self._soft = self._hard = timing.DPM_DEFAULT
        self._override: int | None = None
        self.npuclk, self.hclk = timing.DPM_LEVELS[timing.DPM_DEFAULT]

    def __str__(self) -> str:
        return f"npuclk {self.npuclk} MHz, hclk {self.hclk} MHz, DPM level {self.level}" if self.on else "power is off"

    def turn_on(self) -> None:
        """Power, at the default level."""
        self.on = True
        self._soft = timing.DPM_DEFAULT
        self._hard = 0
        self._override = None
        self._apply()

    def turn_off(self) -> None:
        """No power."""
        self.on = False

    @property
    def level(self) -> int:
        """The DPM level in force: the hard level is a floor under firmware's, or else the soft one."""
        return max(self._soft if self._override is None else self._override, self._hard)

    @property
    def soft(self) -> int:
        """The level that the SMU was asked for."""
        return self._soft

    def override(self, level: int | None) -> None:
        """Firmware's level in place of the soft one, or none."""
        if level != self._override:
            self._override = level
            self._apply()

    def set_soft_level(self, level: int) -> bool:
        """Asks for a level; false if the table has none such."""
        if level >= len(timing.DPM_LEVELS):
            return False
        self._soft = level
        self._apply()
        return True

    def set_hard_level(self, level: int) -> bool:
        """Sets the lowest level; false if the table has none such."""
        if level >= len(timing.DPM_LEVELS):
            return False
        self._hard = level
        self._apply()
        return True

    def set_npuclk(self, megahertz: int) -> int:
        """Sets the management processor's clock; returns the frequency that the table gives."""
        self.npuclk = _nearest(_NPU, megahertz)
        return self.npuclk

    def set_hclk(self, megahertz: int) -> int:
        """Sets the array's clock; returns the frequency that the table gives."""
        self.hclk = _nearest(_HCLK, megahertz)
        self._engine.set_clock(self.hclk)
        return self.hclk

    def _apply(self) -> None:
        self.npuclk, self.hclk = timing.DPM_LEVELS[self.level]
        self._engine.set_clock(self.hclk)


def _nearest(clock: int, megahertz: int) -> int:
    """The table's highest frequency not above ``megahertz``, or its lowest."""
    table = sorted({level[clock] for level in timing.DPM_LEVELS})
    return max((value for value in table if value <= megahertz), default=table[0])
