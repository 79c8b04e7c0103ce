"""Registers of stream switches, held against the routes of AMD's control code (aiebu ``test/aie4-ctrlcode``)."""

from __future__ import annotations

import pytest

from fauxdna.abi import array
from fauxdna.abi.array import TileKind
from fauxdna.abi.switch import SWITCHES, Switch

SHIM, MEM, CORE = SWITCHES[TileKind.SHIM], SWITCHES[TileKind.MEM], SWITCHES[TileKind.CORE]

ROUTES = [
    # Save pages: the mem tile's MM2S0 and MM2S1 south, the shim's two S2MM from the north.
    (MEM, array.MEM_MASTER_SOUTH[0], 0x20014, 0x00, 0x20040),
    (MEM, array.MEM_MASTER_SOUTH[1], 0x20018, 0x01, 0x20044),
    (SHIM, array.SHIM_MASTER_DMA[0], 0x08000, 0x12, 0x08064),
    (SHIM, array.SHIM_MASTER_DMA[1], 0x48000, 0x13, 0x08068),
    # Restore pages, second half: the shim's MM2S2 and MM2S3 north, the mem tile's S2MM4 and S2MM5 from the south.
    (SHIM, array.SHIM_MASTER_NORTH[2], 0x48020, array.SHIM_SLAVE_DMA + 2, 0x48040),
    (SHIM, array.SHIM_MASTER_NORTH[3], 0x48024, array.SHIM_SLAVE_DMA + 3, 0x48044),
    (MEM, array.MEM_MASTER_DMA + 4, 0x60000, array.MEM_SLAVE_SOUTH[2], 0x6005C),
    (MEM, array.MEM_MASTER_DMA + 5, 0x60004, array.MEM_SLAVE_SOUTH[3], 0x60060),
    # Programs: results of four cores into a mem tile, its MM2S9 north, a core's result south, operands from east and west.
    (MEM, array.MEM_MASTER_DMA + 5, 0x60004, array.MEM_SLAVE_NORTH[3], 0x60070),
    (MEM, array.MEM_MASTER_NORTH + 4, 0x60020, array.MEM_SLAVE_DMA[9], 0x60050),
    (CORE, array.CORE_MASTER_SOUTH[0], 0xB4018, array.CORE_SLAVE_DMA, 0xB4104),
    (CORE, array.CORE_MASTER_SOUTH[3], 0xB4028, array.CORE_SLAVE_NORTH[3], 0xB4154),
    (CORE, array.CORE_MASTER_DMA, 0xB4008, array.CORE_SLAVE_SOUTH + 6, 0xB412C),
    (CORE, array.CORE_MASTER_EAST + 1, 0xB4064, array.CORE_SLAVE_SOUTH + 7, 0xB4130),
    (SHIM, array.SHIM_MASTER_EAST + 1, 0x08030, array.SHIM_SLAVE_WEST + 1, 0x08060),
]


@pytest.mark.parametrize(("switch", "master", "at", "slave", "slave_at"), ROUTES)
def test_ports_have_the_registers_that_amd_writes(switch: Switch, master: int, at: int, slave: int, slave_at: int) -> None:
    assert (switch.master(master), switch.slave(slave)) == (at, slave_at)


def test_slots_follow_the_order_of_the_slaves() -> None:
    # Save pages clear four words for each slave of a mem tile's halves; a packet-switched South control port of a core.
    assert [MEM.slot(array.MEM_SLAVE_DMA[channel], 0) for channel in (0, 4, 5)] == [0x20080, 0x200C0, 0x60080]
    assert MEM.slot(array.MEM_SLAVE_NORTH[0], 3) == 0x2013C
    assert CORE.slot(27, 1) == 0xB43B4


@pytest.mark.parametrize("switch", SWITCHES.values(), ids=[kind.name for kind in SWITCHES])
def test_every_port_has_its_registers_alone(switch: Switch) -> None:
    registers = [switch.master(port) for port in range(len(switch.master_ports))]
    registers += [switch.slave(port) for port in range(len(switch.slave_ports))]
    registers += [switch.slot(port, slot) for port in range(len(switch.slave_ports)) for slot in range(array.SWITCH_SLOTS)]
    assert len({*registers}) == len(registers)
    with pytest.raises(ValueError, match="not in tuple"):
        switch.slave(31 if switch is not MEM else 32)
