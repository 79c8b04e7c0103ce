"""Where the ports of a stream switch have their registers.

A selection names a slave port by its number (aie-codegen's ``Aie4*StrmSw*PortMap``); registers count ports by position. The two
halves of a shim or mem tile have registers of their own, :data:`~fauxdna.abi.array.HALF_STRIDE` apart, each for half of the ports
of every kind; so any master may take any slave, whichever half has its register. A core tile has a register for each number.

The port maps are aie-codegen's. The addresses are those that AMD's control code for AIE4 writes: aiebu's ``test/aie4-ctrlcode/``
(routes of all three kinds of tile, save and restore pages) and the pages that ``aiebu-asm`` adds for PREEMPT.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from . import array
from .array import TileKind

# --- Port numbers by position: those of the first half, then those of the second -----------------------------------------
SHIM_MASTER_PORTS: Final = (
    *(0, 1, 4, 6, 7, 8, 12, 13, 16, 17, 18, 22, 23, 26, 28, 30),
    *(2, 3, 5, 9, 10, 11, 14, 15, 19, 20, 21, 24, 25, 27, 29, 31),
)
"""S2MM, trace, FIFO, PL (3), West (2), North (3), East (2), North control, tile control, 32-bit switch."""
SHIM_SLAVE_PORTS: Final = (
    *(0, 1, 4, 6, 7, 8, 9, 14, 15, 18, 19, 22, 23, 26, 28),
    *(2, 3, 5, 10, 11, 12, 13, 16, 17, 20, 21, 24, 25, 27, 29),
)
"""MM2S (2), FIFO, PL (4), West (2), North (2), East (2), DMA control, 32-bit switch."""
MEM_MASTER_PORTS: Final = (
    *(0, 1, 2, 3, 8, 10, 11, 12, 16, 17, 18, 19, 24, 26, 28),
    *(4, 5, 6, 7, 9, 13, 14, 15, 20, 21, 22, 23, 25, 27, 29),
)
"""S2MM (4), FIFO, South (3), North (4), North control, tile control, 32-bit switch."""
MEM_SLAVE_PORTS: Final = (
    *(0, 1, 2, 3, 4, 5, 12, 14, 15, 16, 17, 22, 23, 24, 28, 30),
    *(6, 7, 8, 9, 10, 11, 13, 18, 19, 20, 21, 25, 26, 27, 29, 31),
)
"""MM2S (5), none, FIFO, South (4), North (3), South control, 32-bit switch."""
CORE_MASTER_PORTS: Final = tuple(range(32))
CORE_SLAVE_PORTS: Final = tuple(range(30))

# --- Registers of a half: masters and slaves a word each, slots 16 bytes for each slave ----------------------------------
SHIM_SWITCH_MASTER: Final = 0x08000
SHIM_SWITCH_SLAVE: Final = 0x08040
SHIM_SWITCH_SLOT: Final = 0x08080
MEM_SWITCH_MASTER: Final = 0x20000
MEM_SWITCH_SLAVE: Final = 0x20040
MEM_SWITCH_SLOT: Final = 0x20080
CORE_SWITCH_MASTER: Final = 0xB4000
CORE_SWITCH_SLAVE: Final = 0xB4100
CORE_SWITCH_SLOT: Final = 0xB4200

# Deterministic merge, then masters, slaves and slots of the 32-bit switch: first offset and words of each. They are kept and do
# nothing (chosen). Save pages clear them in shim and mem tiles; those of core tiles are not public.
SHIM_SWITCH_KEPT: Final = (0x08170, 6, 0x08190, 5, 0x081B0, 7, 0x081D0, 28)
MEM_SWITCH_KEPT: Final = (0x20180, 6, 0x201A0, 5, 0x201C0, 7, 0x201E0, 28)


@dataclass(frozen=True)
class Switch:
    """The registers of a kind of tile, as tile offsets."""

    master_base: int
    slave_base: int
    slot_base: int
    master_ports: tuple[int, ...]
    slave_ports: tuple[int, ...]
    halves: int

    def _place(self, ports: tuple[int, ...], port: int, base: int, stride: int) -> int:
        half, position = divmod(ports.index(port), len(ports) // self.halves)
        return half * array.HALF_STRIDE + base + position * stride

    def master(self, port: int) -> int:
        """Where the register of master ``port`` lies. Raises ValueError: the switch has no such port."""
        return self._place(self.master_ports, port, self.master_base, 4)

    def slave(self, port: int) -> int:
        """Where the register of slave ``port`` lies. Raises ValueError: the switch has no such port."""
        return self._place(self.slave_ports, port, self.slave_base, 4)

    def slot(self, port: int, slot: int) -> int:
        """Where slot ``slot`` of slave ``port`` lies. Raises ValueError: the switch has no such port."""
        return self._place(self.slave_ports, port, self.slot_base, 4 * array.SWITCH_SLOTS) + 4 * slot


SWITCHES: Final = {
    TileKind.SHIM: Switch(SHIM_SWITCH_MASTER, SHIM_SWITCH_SLAVE, SHIM_SWITCH_SLOT, SHIM_MASTER_PORTS, SHIM_SLAVE_PORTS, 2),
    TileKind.MEM: Switch(MEM_SWITCH_MASTER, MEM_SWITCH_SLAVE, MEM_SWITCH_SLOT, MEM_MASTER_PORTS, MEM_SLAVE_PORTS, 2),
    TileKind.CORE: Switch(CORE_SWITCH_MASTER, CORE_SWITCH_SLAVE, CORE_SWITCH_SLOT, CORE_MASTER_PORTS, CORE_SLAVE_PORTS, 1),
}
