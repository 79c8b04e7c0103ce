"""QEMU guests with an NPU: fetches what they need, boots them, runs commands in them."""

from .agent import Boot, Completed
from .command import Accelerator, Iommu, Share
from .errors import GuestDied, GuestError, GuestTimeout
from .machine import Machine, Settings

__all__ = [
    "Accelerator",
    "Boot",
    "Completed",
    "GuestDied",
    "GuestError",
    "GuestTimeout",
    "Iommu",
    "Machine",
    "Settings",
    "Share",
]
