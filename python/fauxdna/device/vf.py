"""A virtual function: it computes. Its mailbox answers while its PF's firmware runs and has created it."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock

from fauxdna.abi import bars, pci
from fauxdna.log import Log

from .config import ConfigSpace
from .function import Function


class VirtualFunction(Function):
    """VF ``index`` (from 0) of a die."""

    def __init__(
        self,
        bdf: str,
        index: int,
        log: Log,
        lock: RLock,
        *,
        vanish: Callable[[VirtualFunction], None],
        appear: Callable[[VirtualFunction], None],
        quiesce: Callable[[VirtualFunction], None],
        memory_space: Callable[[], bool],
        kick: Callable[[], None],
    ) -> None:
        super().__init__(bdf, index, ConfigSpace(pci.DEVICE_VF, bars.VF_BAR_SIZES), bars.VF_BAR_SIZES, log, lock)
        self._vanish = vanish
        self._appear = appear
        self._quiesce = quiesce
        self._memory_space = memory_space
        self._kick = kick

    @property
    def memory_enabled(self) -> bool:
        """Its own COMMAND bit and the PF's VF Memory Space Enable."""
        return super().memory_enabled and self._memory_space()

    def before_reset(self) -> None:
        """Firmware forgets what the VF had."""
        self._vanish(self)

    def after_reset(self) -> None:
        """Firmware opens its mailbox afresh."""
        self._appear(self)

    def on_config(self) -> None:
        """Without bus mastering there is no DMA, so contexts end."""
        if not self.config.master_enabled:
            self._quiesce(self)

    def on_doorbell(self) -> None:
        """Wakes the engine."""
        self._kick()
