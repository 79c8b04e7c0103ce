"""MSI-X: the table and pending bits in BAR1, and what they mean for delivery."""

from __future__ import annotations

from fauxdna._core import Interrupts
from fauxdna.abi import bars, pci

_CONTROL = pci.MSIX_ENTRY.offsets["control"]
_TABLE_SIZE = bars.MSIX_VECTORS * pci.MSIX_ENTRY.size


class MsixTable:
    """The vectors of one function. A vector is delivered if MSI-X is enabled and neither it nor the function is masked."""

    def __init__(self, interrupts: Interrupts) -> None:
        self.interrupts = interrupts
        self._table = bytearray(_TABLE_SIZE)
        self._control = 0
        self.reset()

    def reset(self) -> None:
        """All vectors masked and not pending, MSI-X off."""
        for vector in range(bars.MSIX_VECTORS):
            self.interrupts.clear(vector)
        self._table = bytearray(pci.MSIX_ENTRY.pack(control=pci.MSIX_ENTRY_MASKED) * bars.MSIX_VECTORS)
        self._control = 0
        self._apply(range(bars.MSIX_VECTORS))

    def set_control(self, control: int) -> None:
        """Takes over the capability's control word."""
        if control != self._control:
            self._control = control
            self._apply(range(bars.MSIX_VECTORS))

    def read(self, offset: int) -> int:
        """The word at ``offset`` of BAR1."""
        if offset < bars.MSIX_TABLE + _TABLE_SIZE:
            return int.from_bytes(self._table[offset : offset + 4], "little")
        if offset == bars.MSIX_PENDING:
            return sum(self.interrupts.pending(vector) << vector for vector in range(bars.MSIX_VECTORS))
        return 0

    def write(self, offset: int, value: int) -> None:
        """Writes the word at ``offset`` of BAR1; pending bits are read-only."""
        if offset < bars.MSIX_TABLE + _TABLE_SIZE:
            if offset % pci.MSIX_ENTRY.size == _CONTROL:
                value &= pci.MSIX_ENTRY_MASKED
            self._table[offset : offset + 4] = value.to_bytes(4, "little")
            self._apply([offset // pci.MSIX_ENTRY.size])

    def connect(self, vector: int, fd: int | None) -> None:
        """Delivers ``vector`` to an eventfd and unmasks it, or to nobody and masks it, as VFIO programs the table."""
        self.interrupts.set(vector, fd)
        self.set_masked(vector, fd is None)

    def masked(self, vector: int) -> bool:
        """The table's mask bit."""
        return bool(self._table[vector * pci.MSIX_ENTRY.size + _CONTROL] & pci.MSIX_ENTRY_MASKED)

    def set_masked(self, vector: int, masked: bool) -> None:
        """Sets the table's mask bit."""
        self._table[vector * pci.MSIX_ENTRY.size + _CONTROL] = pci.MSIX_ENTRY_MASKED if masked else 0
        self._apply([vector])

    def _apply(self, vectors: range | list[int]) -> None:
        off = not self._control & pci.MSIX_ENABLE or bool(self._control & pci.MSIX_MASK_ALL)
        for vector in vectors:
            self.interrupts.mask(vector, off or self.masked(vector))
