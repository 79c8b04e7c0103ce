"""How an ioctl is described: its number, who may call it, what answers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag

from fauxdna.abi._declare import Struct
from fauxdna.errors import InvalidArgument, NotFound, Unsupported

from ._request import Request


class Permission(IntFlag):
    """``enum drm_ioctl_flags``."""

    NONE = 0
    AUTH = 1
    MASTER = 2
    ROOT_ONLY = 4


Handler = Callable[[Request], bool | None]
"""Answers an ioctl; ``True`` if it keeps the request and finishes it later."""


@dataclass(frozen=True)
class Entry:
    """``struct drm_ioctl_desc``."""

    name: str
    number: int
    handler: Handler
    structure: Struct | None = None
    permission: Permission = Permission.NONE


def invalid(request: Request) -> None:
    """``drm_invalid_op``."""
    raise InvalidArgument(f"{request.name} is disabled in Linux 7.2", "leave it out")


def unsupported(request: Request) -> None:
    """What modesetting and vertical blanks are to a driver without either."""
    raise Unsupported(f"{request.name}: an accel node has no display", "leave it out")


def must_be_zero(request: Request, *names: str) -> None:
    """``EINVAL`` unless these fields are 0."""
    fields = request.fields
    for name in names:
        if fields[name]:
            raise InvalidArgument(f"{request.name}.{name} is {fields[name]:#x}", "give 0")


def no_handle(what: str, handle: int) -> NotFound:
    """``ENOENT``."""
    return NotFound(f"{what} handle {handle} is not open", "use a handle that this file returned")
