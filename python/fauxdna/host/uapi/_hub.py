"""What all sandboxes of one die share: exported objects, GEM names, pinned pages."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from fauxdna.driver import BufferObject, Function
from fauxdna.errors import NotFound

from ._tokens import Tokens
from ._waits import Waits

if TYPE_CHECKING:
    from ._file import OpenFile


class Names:
    """GEM names (FLINK): small numbers by which any file of the same function finds a BO that has a handle."""

    def __init__(self) -> None:
        self._named: dict[Function, dict[int, BufferObject]] = {}
        self._lock = threading.Lock()

    def give(self, function: Function, bo: BufferObject) -> int:
        """The name of a BO."""
        with self._lock:
            named = self._named.setdefault(function, {})
            for name, known in named.items():
                if known is bo:
                    return name
            name = next(name for name in range(1, len(named) + 2) if name not in named)
            named[name] = bo
            return name

    def find(self, function: Function, name: int) -> BufferObject:
        """The BO of a name, with one more reference; ``ENOENT``."""
        with self._lock:
            bo = self._named.get(function, {}).get(name)
            if bo is None:
                raise NotFound(f"no BO has GEM name {name}", "use a name that GEM_FLINK returned")
            return function.memory.get(bo)

    def forget(self, function: Function) -> None:
        """Takes the names of BOs without handles away."""
        with self._lock:
            named = self._named.get(function)
            if not named:
                return
            kept = {name: bo for name, bo in named.items() if any(client.has_bo(bo) for client in list(function.clients))}
            self._named[function] = kept
            if not kept:
                del self._named[function]

    def closed(self, file: OpenFile) -> None:
        """A file was closed."""
        self.forget(file.local.function)


class PinnedPages:
    """Bytes of user-pointer BOs by process (``mm->pinned_vm``)."""

    def __init__(self) -> None:
        self._bytes: dict[int, int] = {}
        self._lock = threading.Lock()

    def add(self, pid: int, length: int) -> int:
        """The new sum."""
        with self._lock:
            total = self._bytes.get(pid, 0) + length
            self._bytes[pid] = total
            if not total:
                del self._bytes[pid]
            return total


class Hub:
    """One per die, handed to each :class:`Service` of it."""

    def __init__(self) -> None:
        self.waits = Waits()
        self.tokens = Tokens()
        self.names = Names()
        self.pinned = PinnedPages()
