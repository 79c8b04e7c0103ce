"""Who answers the ioctls that come through ``_core.Door``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .._core import Call


class DoorHandler(Protocol):
    """Called on the door's threads; while one call takes longer than a millisecond, others come on further threads."""

    def call(self, call: Call) -> None:
        """An ioctl: :meth:`Call.reply`, here or later from any thread.

        A call that is let go of unanswered, or whose handler raises, gets EIO (and the exception goes to ``sys.unraisablehook``).
        """

    def closed(self, client: int) -> None:
        """The client has no descriptor, no mapping and no unanswered call any more; told once, before any later call."""

    def ended(self) -> None:
        """No process has the filter any more. Every client was closed; the door is over."""
