"""Writes an ``ar`` archive as GNU binutils does, without an index: what XRT reads test programs from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_MAGIC: Final = b"!<arch>\n"
_NAME_MAX: Final = 15
"""A longer name stands in the table of names, and ``/OFFSET`` in its place."""


def write(members: Mapping[str, bytes]) -> bytes:
    """The archive of ``members``, by name; equal members give equal bytes."""
    table = "".join(f"{name}/\n" for name in members if len(name) > _NAME_MAX).encode()
    out = _MAGIC + (_member("//", table) if table else b"")
    for name, data in members.items():
        out += _member(f"/{table.index(f'{name}/'.encode())}" if len(name) > _NAME_MAX else f"{name}/", data)
    return out


def _member(name: str, data: bytes) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
    return header + data + b"\n" * (len(data) % 2)
