"""What can go wrong with a guest."""

from __future__ import annotations

import errno as codes

from fauxdna.errors import FauxdnaError


class GuestError(FauxdnaError):
    """A guest that does not start, or ended by itself; ``log`` is the end of what kernel and QEMU printed."""

    def __init__(self, problem: str, remedy: str, *, errno: int | None = None, log: str = "") -> None:
        super().__init__(problem, remedy, errno=errno)
        self.log = log

    def __str__(self) -> str:
        return super().__str__() + (f"\n{self.log}" if self.log else "")


class GuestDied(GuestError):
    """QEMU ended, or the guest's kernel panicked."""

    default_errno = codes.EPIPE


class GuestTimeout(GuestError):
    """The guest did not answer in time."""

    default_errno = codes.ETIMEDOUT
