"""A sandbox from the daemon's side: the door through which its programs' ioctls come, and what answers them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence

from fauxdna.accel.machine import Machine

from ._stub import StubDoor


class Sandbox:
    """Serves one sandbox until its last process has gone.

    Args:
        listener: Descriptor of its seccomp listener; owned.
        files: One descriptor for each device file; owned.
        functions: What is behind each file: a machine, and the BDF of one of its functions.
        level: The UAPI served, ``"next"`` or ``"7.2"``.
        ended: Called once, when it is over.
    """

    def __init__(
        self,
        listener: int,
        files: Sequence[int],
        functions: Sequence[tuple[Machine, str]],
        level: str,
        ended: Callable[[Sandbox], None],
    ) -> None:
        self.functions = [name for _, name in functions]
        self._files = list(files)
        self._listener = listener
        self._ended = ended
        self._lock = threading.Lock()
        self._over = False
        self._door = StubDoor(listener, self.close)

    def start(self) -> None:
        """Begins to answer."""
        self._door.start()

    def close(self) -> None:
        """Ends the service: whoever still waits gets an error. May be called twice."""
        with self._lock:
            if self._over:
                return
            self._over = True
        self._door.close()
        for descriptor in (self._listener, *self._files):
            os.close(descriptor)
        self._ended(self)
