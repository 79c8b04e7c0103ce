"""A dmesg-like log: what device, firmware and driver did, by level and function."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from operator import itemgetter

__all__ = ["Entry", "Level", "Log", "Logger"]


class Level(IntEnum):
    """How much an entry matters, by syslog's numbers: lower is more urgent."""

    ERROR = 3
    WARNING = 4
    INFO = 6
    DEBUG = 7


@dataclass(frozen=True)
class Entry:
    """One line. ``seconds`` counts host time from the log's start; ``function`` is a BDF, ``source`` the part that speaks."""

    seconds: float
    level: Level
    function: str
    source: str
    text: str

    def __str__(self) -> str:
        return f"[{self.seconds:12.6f}] {self.function} {self.source}: {self.text}"


class Log:
    """The last ``capacity`` entries of each function, so that none can push another's out. Thread-safe.

    Readers filter by level and function; subscribers get entries as they come.
    """

    def __init__(self, capacity: int = 4096, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._written = 0
        self._entries: dict[str, deque[tuple[int, Entry]]] = {}
        self._clock = clock
        self._start = clock()
        self._lock = threading.Lock()
        self._subscribers: list[tuple[Level, Callable[[Entry], None]]] = []

    def write(self, level: Level, function: str, source: str, text: str) -> None:
        """Adds an entry. A subscriber that raises is dropped: who listens can't harm who speaks."""
        entry = Entry(self._clock() - self._start, level, function, source, text)
        with self._lock:
            self._written += 1
            self._entries.setdefault(function, deque(maxlen=self._capacity)).append((self._written, entry))
            listeners = [item for item in self._subscribers if level <= item[0]]
        for item in listeners:
            try:
                item[1](entry)
            except Exception:
                self._drop(item)

    def entries(self, level: Level = Level.DEBUG, function: str | None = None) -> list[Entry]:
        """Entries at ``level`` or more urgent, of ``function`` or of all, oldest first."""
        with self._lock:
            rings = list(self._entries.values()) if function is None else [self._entries.get(function, ())]
            numbered = [item for ring in rings for item in ring if item[1].level <= level]
        return [entry for _, entry in sorted(numbered, key=itemgetter(0))]

    def subscribe(self, callback: Callable[[Entry], None], level: Level = Level.DEBUG) -> Callable[[], None]:
        """Calls ``callback`` with each later entry at ``level`` or more urgent; call what is returned to end that."""
        item = (level, callback)
        with self._lock:
            self._subscribers.append(item)
        return lambda: self._drop(item)

    def logger(self, function: str, source: str) -> Logger:
        """A shorthand that writes for one part of one function."""
        return Logger(self, function, source)

    def _drop(self, item: tuple[Level, Callable[[Entry], None]]) -> None:
        with self._lock:
            if item in self._subscribers:
                self._subscribers.remove(item)


class Logger:
    """Writes to a :class:`Log` for one part of one function."""

    __slots__ = ("_function", "_log", "_source")

    def __init__(self, log: Log, function: str, source: str) -> None:
        self._log = log
        self._function = function
        self._source = source

    def error(self, text: str) -> None:
        """Something failed."""
        self._log.write(Level.ERROR, self._function, self._source, text)

    def warning(self, text: str) -> None:
        """Something is odd and was survived."""
        self._log.write(Level.WARNING, self._function, self._source, text)

    def info(self, text: str) -> None:
        """A change of state."""
        self._log.write(Level.INFO, self._function, self._source, text)

    def debug(self, text: str) -> None:
        """Detail."""
        self._log.write(Level.DEBUG, self._function, self._source, text)
