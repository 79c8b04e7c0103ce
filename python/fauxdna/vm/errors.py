"""What can go wrong with a guest."""

from __future__ import annotations

import errno as codes

from fauxdna.errors import FauxdnaError


class GuestError(FauxdnaError):
    """A guest that does not start, or ended by itself."""


class GuestDied(GuestError):
    """QEMU ended, or the guest's kernel panicked; ``log`` is the end of what it printed."""

    default_errno = codes.EPIPE

    def __init__(self, problem: str, remedy: str, *, errno: int | None = None, log: str = "") -> None:
        super().__init__(problem + (f":\n{log}\n" if log else ""), remedy, errno=errno)
        self.log = log


class GuestTimeout(GuestError):
    """The guest did not answer in time."""

    default_errno = codes.ETIMEDOUT
