"""What can go wrong with a guest."""

from __future__ import annotations

import errno as codes

from fauxdna.errors import FauxdnaError


class GuestError(FauxdnaError):
    """A guest that does not start, or ended by itself."""


class GuestDied(GuestError):
    """QEMU ended, or the guest's kernel panicked; the problem has the end of what they printed."""

    default_errno = codes.EPIPE


class GuestTimeout(GuestError):
    """The guest did not answer in time; of a boot, the problem has the end of what was printed."""

    default_errno = codes.ETIMEDOUT
