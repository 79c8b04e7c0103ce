"""What this process holds: a server under guests that come and go may not hold more and more."""

from __future__ import annotations

import os
import time
from dataclasses import astuple, dataclass
from typing import Final

_SECONDS: Final = 30.0
"""For what ends a moment later than the guest's command: a thread, a connection."""


@dataclass(frozen=True)
class Held:
    """Open descriptors, threads, mapped memory of clients, and KiB of memory of its own."""

    descriptors: int
    threads: int
    mappings: int
    own_kib: int

    @staticmethod
    def now() -> Held:
        """What is held at this moment."""
        with open("/proc/self/maps") as maps:
            mappings = sum("/memfd:" in line for line in maps)
        with open("/proc/self/status") as status:
            own = next(int(line.split()[1]) for line in status if line.startswith("RssAnon:"))
        return Held(len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), mappings, own)

    def growth(self) -> str:
        """What of descriptors, threads and mappings is more now than here, in words; "" if nothing is after a while."""
        until = time.monotonic() + _SECONDS
        while True:
            now = Held.now()
            if all(after <= before for before, after in zip(astuple(self)[:3], astuple(now)[:3], strict=True)):
                return ""
            if time.monotonic() > until:
                return (
                    f"{now.descriptors} descriptors, {now.threads} threads and {now.mappings} mappings are held, "
                    f"{self.descriptors}, {self.threads} and {self.mappings} were before"
                )
            time.sleep(0.01)
