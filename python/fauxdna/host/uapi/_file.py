"""An open file of a node, as the kernel's ``drm_file``: handles of all kinds, names, exports; and the node it belongs to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from fauxdna.abi.uapi_next import Level
from fauxdna.accel.local import LocalFile
from fauxdna.driver import BufferObject, Vf

from ._processes import LinuxCapability, capable, mapped, namespace
from ._store import NodeStore
from ._syncobj import SyncobjTable

if TYPE_CHECKING:
    from ._hub import Hub
    from ._tokens import Token

_IDLE_BYTES: Final = 64 << 20
_IDLE_OBJECTS: Final = 256
"""Closed BOs that may wait until somebody looks whether the program still maps them: a look takes milliseconds."""


class Node:
    """A node of a sandbox: its file, whose BOs may outlive their handles in the program's mappings."""

    def __init__(self, fd: int) -> None:
        self.store = NodeStore(fd)
        self._mounts: set[int] = set()
        self._idle: list[tuple[OpenFile, BufferObject]] = []
        self._idle_bytes = 0
        self._look_at, self._look_at_bytes = _IDLE_OBJECTS, _IDLE_BYTES
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()

    def run(self, work: Callable[[], None]) -> None:
        """Runs what takes long, such as a wait, on a thread of its own."""

        def body() -> None:
            try:
                work()
            finally:
                with self._lock:
                    self._threads.discard(thread)

        thread = threading.Thread(target=body, daemon=True, name="ioctl-waits")
        with self._lock:
            # Only what has started can be joined.
            thread.start()
            self._threads.add(thread)

    def close(self) -> None:
        """Every file is closed: waits for what still runs, then lets the node's file go."""
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join()
        self.store.close()

    def seen(self, pid: int) -> None:
        """A process of the sandbox called."""
        mount = namespace(pid, "mnt")
        if mount is not None and mount not in self._mounts:
            with self._lock:
                self._mounts |= {mount}

    def maps(self, bo: BufferObject) -> bool:
        """Whether programs map the BO through this node."""
        return bo.backing.fd == self.store.fd and bo.backing.offset == bo.backing.map_offset

    def retire(self, file: OpenFile, bo: BufferObject) -> None:
        """Keeps a closed BO until no process maps it (Linux: each mapping has a reference), or ``file`` is closed."""
        with self._lock:
            self._idle.append((file, bo))
            self._idle_bytes += bo.size
            due = len(self._idle) >= self._look_at or self._idle_bytes >= self._look_at_bytes
        if due:
            self.sweep()

    def sweep(self) -> None:
        """Lets go of closed BOs that no process maps."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._idle_bytes = 0
            mounts = set(self._mounts)
        if not idle:
            return
        ranges = mapped(self.store.identity, mounts)
        kept = []
        for file, bo in idle:
            start = bo.backing.offset
            if any(first < start + bo.size and start < last for first, last in ranges):
                kept.append((file, bo))
            else:
                file.local.function.memory.put(bo)
        with self._lock:
            self._idle += kept
            held = sum(bo.size for _, bo in kept)
            self._idle_bytes += held
            # What is mapped for long is not looked at again for each BO that is closed.
            self._look_at, self._look_at_bytes = len(kept) + _IDLE_OBJECTS, held + _IDLE_BYTES

    def closed(self, file: OpenFile) -> None:
        """The file is gone, and with it every mapping that was made through it."""
        with self._lock:
            gone = [bo for owner, bo in self._idle if owner is file]
            self._idle = [item for item in self._idle if item[0] is not file]
            self._idle_bytes -= sum(bo.size for bo in gone)
        for bo in gone:
            file.local.function.memory.put(bo)


class Door(Protocol):
    """What a door offers for waits (``fauxdna._core.Door``)."""

    def register(self, client: int, hwctx: int, completion: int) -> None:
        """WAIT_CMD of this context is the door's."""
        ...

    def forget(self, client: int, hwctx: int) -> None:
        """It is no more."""
        ...


class Watcher:
    """Has a door serve WAIT_CMD of a client's contexts, without Python."""

    def __init__(self, door: Door, client: int) -> None:
        self._door = door
        self._client = client

    def begin(self, hwctx: int, completion: int) -> None:
        """A context was made. A client that is gone already needs nothing."""
        with suppress(OSError):
            self._door.register(self._client, hwctx, completion)

    def end(self, hwctx: int) -> None:
        """A context is destroyed."""
        self._door.forget(self._client, hwctx)


class OpenFile:
    """One client. Calls enter and leave it, so that closing waits for those under way."""

    def __init__(self, node: Node, local: LocalFile, hub: Hub, pid: int, watcher: Watcher | None = None) -> None:
        self.node = node
        self.local = local
        self.hub = hub
        self.next = local.level is Level.NEXT
        self.watcher = watcher
        self.authenticated = capable(pid, LinuxCapability.SYS_ADMIN)
        """For compatibility root is always authenticated (``drm_file_alloc``)."""
        self.client_name = ""
        self.prime = threading.Lock()
        """Guards :attr:`exports` and, with it, which handle a BO has."""
        self.exports: dict[int, Token] = {}
        """By BO handle: what it was exported as, or imported from (``drm_prime_file_private``); each is pinned."""
        self.syncobjs = SyncobjTable()
        self.told: set[BufferObject] = set()
        """BOs whose mmap offset the program knows: none can be mapped before."""
        self._users = 0
        self._closing = False
        self._entry = threading.Lock()
        node.seen(pid)

    @property
    def is_vf(self) -> bool:
        """Whether the node has queues."""
        return isinstance(self.local.function, Vf)

    @property
    def closing(self) -> bool:
        """Whether nobody waits for answers any more."""
        return self._closing

    def enter(self) -> bool:
        """A call begins; ``False`` if the file is closed."""
        with self._entry:
            if self._closing:
                return False
            self._users += 1
            return True

    def leave(self) -> None:
        """A call has ended."""
        with self._entry:
            self._users -= 1
            last = self._closing and not self._users
        if last:
            self._close()

    def close(self) -> None:
        """The open file description is gone. Calls under way (their callers were killed) end first."""
        with self._entry:
            if self._closing:
                return
            self._closing = True
            last = not self._users
        if last:
            self._close()

    def _close(self) -> None:
        with self.prime:
            tokens = list(self.exports.values())
            self.exports.clear()
        self.syncobjs.close()
        self.told.clear()
        self.local.close()
        # Whose last handle went with this file has no name either.
        self.hub.names.closed(self)
        self.node.closed(self)
        for token in tokens:
            self.hub.tokens.unpin(token)
        self.hub.tokens.sweep()
