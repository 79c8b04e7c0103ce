"""Sensors: power and column utilisation, as averages of what contexts did between two readings."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

PERIOD_S: Final = 0.1
"""Readings that follow sooner give the same values again."""


@dataclass
class Work:
    """Energy in picojoule, and simulated nanoseconds in which each column was busy."""

    energy_pj: float = 0
    busy_ns: dict[int, int] = field(default_factory=dict)

    def add(self, energy_pj: float, busy_ns: int, columns: range) -> None:
        """Adds what a context on ``columns`` did."""
        self.energy_pj += energy_pj
        for column in columns:
            self.busy_ns[column] = self.busy_ns.get(column, 0) + busy_ns

    def plus(self, other: Work) -> Work:
        """Both together."""
        columns = self.busy_ns.keys() | other.busy_ns.keys()
        busy = {column: self.busy_ns.get(column, 0) + other.busy_ns.get(column, 0) for column in columns}
        return Work(self.energy_pj + other.energy_pj, busy)


@dataclass(frozen=True)
class Reading:
    """Power in milliwatt; utilisation of columns in per cent."""

    power_mw: int = 0
    busy: dict[int, int] = field(default_factory=dict)


class Meter:
    """Turns work done so far into power and utilisation since the reading before.

    Energy and busy time are simulated, the time between readings is the host's: with pace "real" these are what a sensor would
    show; with pace "fast" the array may do more than 100 % of what it could, which reads as 100.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._before = Work()
        self._reading = Reading()

    def read(self, now: Work) -> Reading:
        """The averages since the reading before, or since the meter was made."""
        at = self._clock()
        elapsed = at - self._since
        if elapsed >= PERIOD_S:
            # A function that was reset may have done less than before.
            energy = max(0.0, now.energy_pj - self._before.energy_pj)
            busy = {column: max(0, ns - self._before.busy_ns.get(column, 0)) for column, ns in now.busy_ns.items()}
            self._reading = Reading(
                round(energy / elapsed / 1e9), {column: min(100, round(ns / elapsed / 1e7)) for column, ns in busy.items()}
            )
            self._since, self._before = at, now
        return self._reading
