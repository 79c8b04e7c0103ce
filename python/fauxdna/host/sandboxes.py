"""A sandbox from the daemon's side: the door through which its programs' ioctls come, and what answers them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence

from fauxdna._core import Call, Door
from fauxdna.abi.uapi_next import Level
from fauxdna.accel.local import LocalFile
from fauxdna.accel.machine import Machine
from fauxdna.driver import BackingStore

from .uapi import Hub, Service


class Sandbox:
    """Serves one sandbox until its last process has gone. A :class:`fauxdna.host._door.DoorHandler`.

    Args:
        listener: Descriptor of its seccomp listener; owned.
        files: One descriptor for each device file; owned.
        functions: What is behind each file: a machine, and the BDF of one of its functions.
        level: The UAPI served.
        hub: What the sandboxes of a daemon share.
        ended: Called once, when it is over.
    """

    def __init__(
        self,
        listener: int,
        files: Sequence[int],
        functions: Sequence[tuple[Machine, str]],
        level: Level,
        hub: Hub,
        ended: Callable[[Sandbox], None],
    ) -> None:
        self.functions = [name for _, name in functions]
        self._places = list(functions)
        self._descriptors = [listener, *files]
        self._ended = ended
        self._lock = threading.Lock()
        self._over = False
        self._ready = threading.Event()
        self._door: Door | None = None
        self._level = level
        self._service = Service(files, self._open, hub=hub)

    def start(self) -> None:
        """Begins to answer. ``OSError``: what was sent is no listener, or no device file; then nothing of it is left."""
        listener, *files = self._descriptors
        # One machine serves waits without Python; programs with NPUs of several dies wait through the service.
        machines = {id(machine): machine for machine, _ in self._places}
        completions = next(iter(machines.values())).completions if len(machines) == 1 else None
        try:
            door = Door(listener, files, self, completions=completions)
        except OSError:
            self._service.close()
            for descriptor in self._descriptors:
                os.close(descriptor)
            raise
        with self._lock:
            # A sandbox whose launcher was killed may have ended by now: nobody would take its door away again.
            if not self._over:
                self._door = door
                if completions is not None:
                    self._service.attach(door, completions)
        self._ready.set()
        # The door has its own: programs must not wait for a door that has ended.
        for descriptor in self._descriptors:
            os.close(descriptor)

    def call(self, call: Call) -> None:
        """See :class:`~fauxdna.host._door.DoorHandler`."""
        # A program that started faster than its die has a call waiting when the door opens.
        if not self._ready.is_set():
            self._ready.wait()
        self._service.call(call)

    def closed(self, client: int) -> None:
        """See :class:`~fauxdna.host._door.DoorHandler`."""
        self._service.closed(client)

    def ended(self) -> None:
        """See :class:`~fauxdna.host._door.DoorHandler`."""
        self.close()

    def close(self) -> None:
        """Ends the service: whoever still waits gets an error. May be called twice."""
        with self._lock:
            if self._over:
                return
            self._over = True
            # It holds this object, which the collector can't see.
            door, self._door = self._door, None
        if door is not None:
            door.close()
        self._service.close()
        self._ended(self)

    def _open(self, index: int, store: BackingStore, pid: int) -> LocalFile:
        machine, name = self._places[index]
        return machine.open(bdf=name, store=store, pid=pid, level=self._level)
