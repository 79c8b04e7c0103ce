"""How long tests wait for what has to happen: until something must hang. No test claims how fast something is."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 60.0
"""Seconds after which something that has to happen counts as missing, on however busy a machine."""
PATIENCE_MS = int(PATIENCE * 1e3)
PATIENCE_US = int(PATIENCE * 1e6)


def eventually(condition: Callable[[], object]) -> bool:
    """Whether ``condition`` comes true."""
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.002)
    return True
