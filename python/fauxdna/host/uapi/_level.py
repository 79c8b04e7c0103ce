"""Which kernel's answers a node gives."""

from __future__ import annotations

from enum import Enum


class Level(Enum):
    """Which surface of the UAPI is served."""

    LINUX_7_2 = "7.2"
    """Exactly what Linux 7.2 serves on an AIE4 function."""
    NEXT = "next"
    """With the queries, states and configurations that XRT 2.25 asks for."""
