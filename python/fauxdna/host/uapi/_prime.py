"""Export and import of BOs (PRIME). Mirrors ``drm_prime.c`` and ``amdxdna_gem_prime_import``.

A BO is exported as a token (:mod:`._tokens`). An import into another file is a BO of its own over the same memory, as in Linux:
it has another device address, and SYNC_BO refuses it. Within a sandbox's node it has the exporter's mmap offset; elsewhere it
has none (all ones), because a program can map its own node's file alone, while the device reaches the memory all the same.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final, cast

from fauxdna.abi import uapi
from fauxdna.abi.uapi import INVALID_ADDRESS, Ioctl
from fauxdna.driver import Backing, BufferObject
from fauxdna.errors import InvalidArgument, OutOfSpace, Unsupported

from ._request import Request
from ._table import Entry

if TYPE_CHECKING:
    from ._file import OpenFile
    from ._hub import Hub
    from ._tokens import Token

KIND: Final = "dmabuf"


class ImportedMemory:
    """A :class:`fauxdna.driver.BackingStore` for one imported BO: it keeps the token, and with it the exporter's memory."""

    def __init__(self, hub: Hub, token: Token) -> None:
        self.token = token
        self._hub = hub

    def allocate(self, length: int) -> Backing:
        """Refused: there is one BO."""
        raise Unsupported("an imported BO has one memory", "create another")

    def adopt(self, fd: int, offset: int, length: int) -> Backing:
        """Refused, as :meth:`allocate`."""
        raise Unsupported("an imported BO has one memory", "create another")

    def export(self, backing: Backing) -> int:
        """Refused: the token is exported again."""
        raise Unsupported("an imported BO has no descriptor of its own", "export it by PRIME_HANDLE_TO_FD")

    def release(self, backing: Backing) -> None:
        """The importer is done with it."""
        self._hub.tokens.unpin(self.token)


def import_token(request: Request, fd: int) -> BufferObject:
    """A new BO over the memory behind the caller's ``fd``; ``EBADF``, or ``EINVAL`` for what is no exported BO."""
    token = _find(request, fd)
    return _import(request, token)


def _find(request: Request, fd: int) -> Token:
    try:
        ours = request.call.get_fd(fd)
    except OSError as error:
        raise InvalidArgument(f"descriptor {fd} is not open", "pass an exported one", errno=errno.EBADF) from error
    try:
        return request.file.hub.tokens.find(ours, KIND)
    finally:
        os.close(ours)


def _import(request: Request, token: Token) -> BufferObject:
    """Takes the caller's pin of ``token`` over."""
    file = request.file
    source = cast("BufferObject", token.item)
    memory = file.local.function.memory
    mappable = source.backing.fd == file.node.store.fd
    if not mappable:
        file.local.function.log.info(
            f"BO of {source.size} bytes imported from another node: the device reaches it, mmap can't (map_offset is all ones)"
        )
    offset = source.backing.map_offset if mappable else INVALID_ADDRESS
    return memory.map_memory(ImportedMemory(file.hub, token), [source.backing], map_offset=offset)


def fd_to_handle(request: Request) -> None:
    """``drm_gem_prime_fd_to_handle``: one handle for one exported BO in a file."""
    file = request.file
    token = _find(request, request.fields.fd)
    with file.prime:
        known = next((handle for handle, other in file.exports.items() if other is token), 0)
        if known:
            file.hub.tokens.unpin(token)
            request.set(handle=known)
            return
        handle = file.local.add_bo(_import(request, token))
        file.hub.tokens.pin(token)
        file.exports[handle] = token
    request.set(handle=handle)


def handle_to_fd(request: Request) -> None:
    """``drm_gem_prime_handle_to_fd``: what was exported or imported before is the same object again."""
    fields, file = request.fields, request.file
    if fields.flags & ~(os.O_CLOEXEC | os.O_RDWR):
        raise InvalidArgument(f"PRIME flags {fields.flags:#x}", "give DRM_CLOEXEC and DRM_RDWR at most")
    tokens = file.hub.tokens
    with file.prime:
        bo = file.local.bo(fields.handle)
        token = file.exports.get(fields.handle)
        if token is None:
            token = file.exports[fields.handle] = _token_of(file, bo)
        tokens.pin(token)
    try:
        ours = tokens.descriptor(token)
        try:
            request.set(fd=install(request, ours, cloexec=bool(fields.flags & os.O_CLOEXEC)))
        finally:
            os.close(ours)
    finally:
        tokens.unpin(token)


def _token_of(file: OpenFile, bo: BufferObject) -> Token:
    """The BO's token, pinned for its handle."""
    if not bo.exportable:
        raise Unsupported("a BO made from a va_tbl is private", "export the memory that it was made from")
    tokens, manager = file.hub.tokens, file.local.function.memory
    if isinstance(bo.store, ImportedMemory):
        tokens.pin(bo.store.token)
        return bo.store.token
    return tokens.make(KIND, bo.size, manager.get(bo), released=lambda: manager.put(bo), of=bo)


def install(request: Request, fd: int, *, cloexec: bool) -> int:
    """``fd`` in the caller; ``EMFILE`` where its table is full."""
    try:
        return request.call.add_fd(fd, cloexec)
    except OSError as error:
        raise OutOfSpace(
            f"no descriptor in process {request.call.pid} ({error.strerror})", "close some", errno=error.errno
        ) from error


ENTRIES: Final = (
    Entry("PRIME_HANDLE_TO_FD", Ioctl.PRIME_HANDLE_TO_FD, handle_to_fd, uapi.PRIME_HANDLE),
    Entry("PRIME_FD_TO_HANDLE", Ioctl.PRIME_FD_TO_HANDLE, fd_to_handle, uapi.PRIME_HANDLE),
)
