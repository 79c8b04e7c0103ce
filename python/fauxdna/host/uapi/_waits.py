"""Waits for syncobjs that outlast their ioctl's first look: kept until they are due, their time is over, or nobody waits."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

from ._request import Request
from ._syncobj import Syncobj

_LOOK_S: Final = 0.5
"""How often callers of long waits are looked after."""


class Wait:
    """One waiting ioctl: some or all of ``missing`` (syncobj, point) have to be submitted.

    Args:
        request: Finished exactly once, by whoever comes first.
        missing: What is not there yet, by its index in the ioctl's arrays.
        everything: Whether all of them have to come, or one.
        deadline: ``time.monotonic_ns``.
        done: Called with an index that came, before the request is finished with success.
    """

    def __init__(
        self,
        request: Request,
        missing: Sequence[tuple[int, Syncobj, int]],
        *,
        everything: bool,
        deadline: int,
        done: Callable[[int], None],
    ) -> None:
        self.request = request
        self.deadline = deadline
        self._everything = everything
        self._left = {index for index, _, _ in missing}
        self._done = done
        self._over = False
        self._lock = threading.Lock()
        self._listeners = [(syncobj, point, self._listener(index)) for index, syncobj, point in missing]

    def start(self) -> bool:
        """Begins to listen; whether the wait is over already."""
        for syncobj, point, listener in self._listeners:
            syncobj.listen(point, listener)
        if self._over:
            # It ended while it began: what was registered after that goes too.
            self._forget()
        return self._over

    def look(self, now: int) -> bool:
        """Ends the wait if its time is over or its caller gone; whether it is over."""
        if not self._over and now >= self.deadline:
            self._end(errno.ETIME)
        elif not self._over and not self.request.call.alive:
            self._end(errno.EINTR)
        return self._over

    def interrupted(self) -> None:
        """The caller has a signal to act on, or was killed: its call has ended."""
        self._end(errno.EINTR)

    def cancel(self) -> None:
        """The file or the service is closed."""
        self._end(errno.ENODEV)

    def _listener(self, index: int) -> Callable[[], None]:
        def came() -> None:
            with self._lock:
                self._left.discard(index)
                enough = not self._left or not self._everything
            if enough:
                self._end(0, index)

        return came

    def _forget(self) -> None:
        for syncobj, _, listener in self._listeners:
            syncobj.forget(listener)

    def _end(self, error: int, index: int = -1) -> None:
        with self._lock:
            if self._over:
                return
            self._over = True
        self._forget()
        if not error:
            self._done(index)
        self.request.finish(error)


class Waits:
    """The waits under way, and a thread that looks after them while there are any."""

    def __init__(self) -> None:
        self._waits: set[Wait] = set()
        self._changed = threading.Condition()
        self._running = False

    def __len__(self) -> int:
        return len(self._waits)

    def add(self, wait: Wait) -> None:
        """Takes a wait over."""
        if wait.start():
            return
        with self._changed:
            self._waits.add(wait)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, daemon=True, name="syncobj-waits").start()
            self._changed.notify()
        wait.request.call.interruptible(wait.interrupted)

    def cancel(self, files: Collection[object]) -> None:
        """Ends the waits on these open files."""
        with self._changed:
            waits = [wait for wait in self._waits if wait.request.file in files]
        for wait in waits:
            wait.cancel()

    def _run(self) -> None:
        while True:
            with self._changed:
                waits = list(self._waits)
            now = time.monotonic_ns()
            over = {wait for wait in waits if wait.look(now)}
            with self._changed:
                self._waits -= over
                if not self._waits:
                    self._running = False
                    return
                left = (min(wait.deadline for wait in self._waits) - time.monotonic_ns()) / 1e9
                self._changed.wait(max(0.0, min(_LOOK_S, left)))
