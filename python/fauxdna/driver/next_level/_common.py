"""What several queries need: the function's contexts and their statistics, requests, text in fields."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from fauxdna.abi._declare import Record, Struct

from ...errors import BufferTooSmall, Busy, DeviceGone, InvalidArgument, MessageRefused, Unsupported
from ..client import Client
from ..function import Function
from ..open_files import HardwareContext, OpenFile
from ..vf import Vf


def vf_of(client: Client, what: str) -> Vf:
    if not isinstance(client.function, Vf):
        raise Unsupported(f"{what} of {client.function.name}: a PF has no columns", "ask the node of a VF")
    return client.function


def tile_info(vf: Vf) -> Record:
    if vf.tile_info is None:
        raise DeviceGone(f"{vf.name} is not started", "probe it")
    return vf.tile_info


def clients_of(function: Function) -> list[OpenFile]:
    with function.lock:
        return list(function.clients)


def contexts_of(function: Function) -> Iterator[tuple[OpenFile, int, HardwareContext]]:
    """All contexts of the function, with their handles."""
    for client in clients_of(function):
        for handle, context in client.contexts().items():
            yield client, handle, context


def statistics_of(function: Function, context: HardwareContext) -> Record | None:
    """What firmware says of a context; None if it has gone meanwhile."""
    try:
        return function.ask("CONTEXT_STATISTICS", hw_context_id=context.id)
    except MessageRefused:
        return None


def find(client: Client, pid: int, handle: int) -> tuple[OpenFile, HardwareContext]:
    for owner, known, context in contexts_of(client.function):
        if (owner.pid, known) == (pid, handle):
            return owner, context
    raise not_there(pid, handle)


def owned(client: Client, pid: int, handle: int) -> HardwareContext:
    """The context, if the caller's process owns it."""
    _, context = find(client, pid, handle)
    if pid != client.pid:
        raise Busy(f"context {handle} is process {pid}'s", "look into contexts of your own process", errno=errno.EPERM)
    return context


def not_there(pid: int, handle: int) -> InvalidArgument:
    return InvalidArgument(f"process {pid} has no context {handle}", "take both from HW_CONTEXT_ALL")


def argument(layout: Struct, element_size: int, count: int, data: bytes) -> Record:
    if count != 1:
        raise InvalidArgument(f"{count} elements", "ask for one")
    if element_size < layout.size or len(data) < layout.size:
        raise BufferTooSmall(f"a request in {min(element_size, len(data))} bytes", needed=layout.size)
    return layout.unpack(data)


def each(record: Record, field: str) -> tuple[int, ...]:
    """A field that is an array."""
    value: object = record[field]
    assert isinstance(value, tuple)
    return value


def text_of(layout: Struct, field: str, text: str) -> tuple[int, ...]:
    """``text`` as a field of characters, cut so that a 0 ends it."""
    size = next(item.count for item in layout.fields if item.name == field)
    return tuple(text.encode()[: size - 1].ljust(size, b"\0"))
