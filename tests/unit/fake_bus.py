"""A bus over plain memory, for register-level driver tests: the test plays the device."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from fauxdna.bus import MappedArea, Region, RegionInfo

SIZES = {Region.BAR0: 4096, Region.BAR1: 4096, Region.BAR2: 1 << 20, Region.BAR4: 4096, Region.BAR5: 4096, Region.CONFIG: 4096}


class FakeBus:
    """Regions are bytearrays; ``on_write(region, offset, value)`` is called after each 4-byte write."""

    def __init__(self) -> None:
        self.memory = {region: bytearray(size) for region, size in SIZES.items()}
        self.on_write: Callable[[Region, int, int], None] = lambda region, offset, value: None
        self.dma: dict[int, tuple[int, int, int]] = {}
        self.irqs: dict[int, int] = {}
        self.closed = 0

    def region_info(self, region: Region) -> RegionInfo:
        return RegionInfo(SIZES.get(region, 0), True, True)

    def region_read(self, region: Region, offset: int, length: int) -> bytes:
        return bytes(self.memory[region][offset : offset + length])

    def region_write(self, region: Region, offset: int, data: bytes) -> None:
        self.memory[region][offset : offset + len(data)] = data
        if len(data) == 4:
            self.on_write(region, offset, int.from_bytes(data, "little"))

    def region_map(self, region: Region) -> tuple[MappedArea, ...]:
        return ()

    def dma_map(self, iova: int, fd: int, offset: int, length: int, prot: int) -> None:
        assert iova % 4096 == offset % 4096 == length % 4096 == 0
        self.dma[iova] = (os.dup(fd), offset, length)

    def dma_unmap(self, iova: int, length: int) -> None:
        fd, _, mapped = self.dma.pop(iova)
        assert mapped == length
        os.close(fd)

    def set_irqs(self, index: int, start: int, fds: Sequence[int | None]) -> None:
        for vector, fd in enumerate(fds, start):
            if fd is None:
                self.irqs.pop(vector, None)
            else:
                self.irqs[vector] = fd

    def reset(self) -> None:
        pass

    def close(self) -> None:
        self.closed += 1

    def read32(self, region: Region, offset: int) -> int:
        return int.from_bytes(self.memory[region][offset : offset + 4], "little")

    def poke32(self, region: Region, offset: int, value: int) -> None:
        self.memory[region][offset : offset + 4] = value.to_bytes(4, "little")

    def dma_bytes(self, iova: int, length: int) -> bytes:
        fd, offset, _ = self.dma[iova]
        return os.pread(fd, length, offset)
