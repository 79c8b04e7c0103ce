"""What this process holds, for tests that nothing may leak: growth counts, since what earlier tests left may go at any time."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from collections.abc import Callable

from _patience import PATIENCE

from fauxdna._core import Interrupts


def _make_what_is_made_once() -> None:
    """By what interrupts are signalled (``src/notify.rs``): a process makes it at its first use and keeps it."""
    interrupts, eventfd = Interrupts(1), os.eventfd(0)
    interrupts.set(0, eventfd)
    interrupts.trigger(0)
    os.close(eventfd)


_make_what_is_made_once()


def descriptors() -> int:
    """Open file descriptors, without those that garbage holds."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def names() -> Counter[str]:
    """What the descriptors are, so that a failure can say which came."""
    links = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    return Counter(os.readlink(link) for link in links if os.path.lexists(link))


def usage(mappings: str = "memfd") -> tuple[int, int, int]:
    """Descriptors, threads, and mappings of files whose path has ``mappings`` in it."""
    held = descriptors()
    with open("/proc/self/maps") as maps:
        return held, len(os.listdir("/proc/self/task")), sum(mappings in line for line in maps)


def grew(before: tuple[int, ...], now: Callable[[], tuple[int, ...]], seconds: float = PATIENCE) -> tuple[int, ...]:
    """By how much each figure is above ``before``, once that is nothing or after ``seconds``: threads take a moment to end."""
    until = time.monotonic() + seconds
    while True:
        growth = tuple(max(0, after - first) for first, after in zip(before, now(), strict=True))
        if not any(growth) or time.monotonic() > until:
            return growth
        time.sleep(0.01)
