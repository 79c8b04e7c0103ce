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
        kick: Callable[[], None],
    ) -> None:
        super().__init__(bdf, index, ConfigSpace(pci.DEVICE_VF, bars.VF_BAR_SIZES), bars.VF_BAR_SIZES, log, lock)
        self._vanish = vanish
        self._appear = appear
        self._kick = kick

    def before_reset(self) -> None:
        """Firmware forgets what the VF had."""
        self._vanish(self)

    def after_reset(self) -> None:
        """Firmware opens its mailbox afresh."""
        self._appear(self)

    def on_config(self) -> None:
        """A VF's configuration space controls nothing else."""

    def on_doorbell(self) -> None:
        """Wakes the engine."""
        self._kick()
