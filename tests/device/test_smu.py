"""SMU: power and clocks."""

from __future__ import annotations

import pytest
from _host import read32, smu, write32
from _machine import Machine

from fauxdna.bus import Region

OFF, ON, NPUCLK, HCLK, SOFT, HARD = 4, 3, 5, 6, 7, 8


def test_power_on_sets_the_default_clock(machine: Machine) -> None:
    bus = machine.pf()
    assert smu(bus, OFF)[0] == 1
    assert smu(bus, ON)[0] == 1
    assert machine.engine.clocks[-1] == 1200


@pytest.mark.parametrize("command", [NPUCLK, HCLK, SOFT, HARD])
def test_clocks_need_power(machine: Machine, command: int) -> None:
    assert smu(machine.pf(), command, 1)[0] == 0xFD
    assert "power is off" in machine.errors()


@pytest.mark.parametrize(("level", "hclk"), [(0, 400), (1, 576), (2, 576), (3, 847), (4, 1200)])
def test_dpm_levels(machine: Machine, level: int, hclk: int) -> None:
    """aie_smu_set_dpm: hard, then soft. Frequencies of amd/xdna-driver's npu3 DPM table."""
    bus = machine.pf()
    smu(bus, ON)
    assert smu(bus, HARD, level)[0] == 1
    assert smu(bus, SOFT, level)[0] == 1
    assert machine.engine.clocks[-1] == hclk


def test_hard_level_is_a_floor(machine: Machine) -> None:
    bus = machine.pf()
    smu(bus, ON)
    smu(bus, HARD, 3)
    smu(bus, SOFT, 0)
    assert machine.engine.clocks[-1] == 847
    smu(bus, HARD, 0)
    assert machine.engine.clocks[-1] == 400


@pytest.mark.parametrize("level", [5, 0xFFFFFFFF])
def test_levels_that_do_not_exist(machine: Machine, level: int) -> None:
    bus = machine.pf()
    smu(bus, ON)
    clocks = list(machine.engine.clocks)
    assert smu(bus, SOFT, level)[0] == 0xFF
    assert smu(bus, HARD, level)[0] == 0xFF
    assert machine.engine.clocks == clocks


@pytest.mark.parametrize(("asked", "given"), [(1200, 1200), (1199, 847), (600, 576), (400, 400), (1, 400), (5000, 1200)])
def test_frequencies_are_rounded_to_the_table(machine: Machine, asked: int, given: int) -> None:
    bus = machine.pf()
    smu(bus, ON)
    assert smu(bus, HCLK, asked) == (1, given)
    assert machine.engine.clocks[-1] == given


def test_npuclk_does_not_move_the_array(machine: Machine) -> None:
    bus = machine.pf()
    smu(bus, ON)
    clocks = list(machine.engine.clocks)
    assert smu(bus, NPUCLK, 1000) == (1, 960)
    assert machine.engine.clocks == clocks


@pytest.mark.parametrize("command", [0, 1, 2, 9, 0xFFFFFFFF])
def test_unknown_commands(machine: Machine, command: int) -> None:
    assert smu(machine.pf(), command)[0] == 0xFE


def test_nothing_happens_without_the_interrupt(machine: Machine) -> None:
    bus = machine.pf()
    write32(bus, Region.BAR5, 0x9EC, ON)
    write32(bus, Region.BAR5, 0, 0)
    write32(bus, Region.BAR5, 0, 2)
    assert read32(bus, Region.BAR5, 0x9F0) == 0
