"""Waits under way in an open file, which whoever destroys a context of it waits for: Linux's ``hwctx_srcu``."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Waits:
    """Of one open file."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._last = 0
        self._under_way: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._under_way)

    @contextmanager
    def one(self) -> Iterator[None]:
        """A wait, from its first look at the context to its end (``srcu_read_lock``)."""
        with self._changed:
            self._last += 1
            number = self._last
            self._under_way.add(number)
        try:
            yield
        finally:
            with self._changed:
                self._under_way.remove(number)
                self._changed.notify_all()

    def synchronise(self) -> None:
        """Returns when all waits are over that are under way now (``synchronize_srcu``)."""
        with self._changed:
            last = self._last
            self._changed.wait_for(lambda: all(number > last for number in self._under_way))
