"""Answers every ioctl of a sandbox's nodes, as ``drm_ioctl`` and ``amdxdna`` of Linux 7.2 do."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from fauxdna._core import Call, Completions
from fauxdna.abi import drm
from fauxdna.accel.local import LocalFile
from fauxdna.bus import BusError
from fauxdna.driver import BackingStore
from fauxdna.errors import FauxdnaError

from . import _bo, _drm, _hwctx, _info, _prime, _syncobj_ioctls
from ._file import Door, Node, OpenFile, Watcher
from ._hub import Hub
from ._processes import LinuxCapability, capable, owner
from ._request import Request
from ._table import Entry, Permission

OpenNode = Callable[[int, BackingStore, int], LocalFile]
"""Opens node ``index`` with a store for its BOs, for a process; the file's level says which driver's answers are given."""

_NUMBER: Final = 0xFF
_TYPE_SHIFT: Final = 8
_ENTRIES: Final = (
    *_drm.ENTRIES,
    *_bo.ENTRIES,
    *_prime.ENTRIES,
    *_syncobj_ioctls.ENTRIES,
    *_hwctx.ENTRIES,
    *_info.ENTRIES,
)
TABLE: Final = {int(entry.number) & _NUMBER: entry for entry in _ENTRIES}
"""By ``DRM_IOCTL_NR``; what is missing has no function in Linux either."""


class Service:
    """The handler of a sandbox's door, which calls it on as many threads as calls take long.

    Args:
        files: One descriptor for reading and writing per node file of the sandbox; each is duplicated.
        open_node: Opens a node for a client, at the client's first call.
        hub: What the sandboxes of a die share; one per die.
    """

    def __init__(self, files: Sequence[int], open_node: OpenNode, *, hub: Hub | None = None) -> None:
        self.hub = hub or Hub()
        self._open_node = open_node
        self._nodes = [Node(fd) for fd in files]
        self._files: dict[int, OpenFile] = {}
        self._lock = threading.Lock()
        self._door: tuple[Door, Completions] | None = None
        self._closed = False

    def attach(self, door: Door, completions: Completions) -> None:
        """Lets the door itself serve waits for commands of functions whose interrupts go to ``completions``."""
        self._door = door, completions

    def call(self, call: Call) -> None:
        """Answers one ioctl, now or later."""
        try:
            file = self._file(call)
        except FauxdnaError as error:
            with suppress(OSError):
                call.reply(error.errno or errno.EIO)
            return
        if file is None:
            with suppress(OSError):
                call.reply(errno.ENODEV)
            return
        try:
            request, entry = self._decode(call, file)
        except FauxdnaError as error:
            self._refused(file, "ioctl", error)
            self._give_up(call, file, error.errno or errno.EIO)
            return
        self._serve(request, entry)

    def closed(self, client: int) -> None:
        """The last descriptor and mapping of an open file are gone."""
        with self._lock:
            file = self._files.pop(client, None)
        if file is not None:
            file.close()

    def ended(self) -> None:
        """No process of the sandbox is left."""
        self.close()

    def close(self) -> None:
        """Closes every open file; calls that wait get ``ENODEV``. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            files = list(self._files.values())
            self._files.clear()
        self.hub.waits.cancel(files)
        for file in files:
            file.close()
        # It holds this object, which the collector can't see.
        self._door = None
        for node in self._nodes:
            node.close()

    def _file(self, call: Call) -> OpenFile | None:
        """The caller's open file, entered; opened at its first call. None if the function or the file is gone."""
        file = self._files.get(call.client)
        if file is None:
            with self._lock:
                file = self._files.get(call.client)
                if file is None:
                    if self._closed:
                        return None
                    node = self._nodes[call.node]
                    local = self._open_node(call.node, node.store, call.pid)
                    watcher = self._watcher(call.client, local)
                    file = OpenFile(node, local, self.hub, call.pid, watcher)
                    self._files[call.client] = file
        # drm_dev_is_unplugged
        return file if file.local.function.started and file.enter() else None

    def _watcher(self, client: int, local: LocalFile) -> Watcher | None:
        if self._door is None or local.function.completions is not self._door[1]:
            return None
        return Watcher(self._door[0], client)

    def _decode(self, call: Call, file: OpenFile) -> tuple[Request, Entry]:
        """``drm_ioctl`` up to its look at permissions."""
        number = call.request
        if number >> _TYPE_SHIFT & _NUMBER != drm.IOCTL_TYPE:
            raise FauxdnaError(f"ioctl {number:#x} is none of DRM's", "use those of drm.h", errno=errno.ENOTTY)
        entry = TABLE.get(number & _NUMBER)
        if entry is None:
            raise FauxdnaError(f"ioctl {number:#x} does not exist", "use those of amdxdna_accel.h", errno=errno.EINVAL)
        return Request(call, file, entry.name, entry.number, entry.structure), entry

    def _serve(self, request: Request, entry: Entry) -> None:
        error = 0
        try:
            if entry.permission:
                self._permit(request, entry)
            if entry.handler(request):
                return
        except FauxdnaError as refused:
            self._refused(request.file, entry.name, refused)
            error = refused.errno or errno.EIO
        except BusError as broken:
            request.file.local.function.log.error(f"{entry.name}: {broken.strerror}")
            error = errno.EIO if request.file.local.function.started else errno.ENODEV
        except Exception as bug:
            # Whatever went wrong here, the caller waits for an answer.
            request.file.local.function.log.error(f"{entry.name} failed: {type(bug).__name__}: {bug}")
            error = errno.EIO
        request.finish(error)

    def _permit(self, request: Request, entry: Entry) -> None:
        """``drm_ioctl_permit``: an accel node is no render node, and nobody is its master."""
        permission, file = entry.permission, request.file
        if permission is Permission.NONE:
            return
        if permission & Permission.ROOT_ONLY and not self._is_root(request):
            raise _forbidden(entry, "it takes CAP_SYS_ADMIN")
        if permission & Permission.AUTH and not file.authenticated:
            raise _forbidden(entry, "it takes a file that was opened with CAP_SYS_ADMIN")
        if permission & Permission.MASTER:
            raise _forbidden(entry, "an accel node has no master")

    @staticmethod
    def _is_root(request: Request) -> bool:
        """CAP_SYS_ADMIN; at level ``next`` also the user who runs the die, which is nobody else's hardware."""
        if request.file.next and owner(request.call.tid) == os.getuid():
            return True
        return capable(request.call.tid, LinuxCapability.SYS_ADMIN)

    @staticmethod
    def _refused(file: OpenFile, name: str, error: FauxdnaError) -> None:
        file.local.function.log.debug(f"pid {file.local.pid}: {name}: {error}")

    @staticmethod
    def _give_up(call: Call, file: OpenFile, error: int) -> None:
        with suppress(OSError):
            call.reply(error)
        file.leave()


def _forbidden(entry: Entry, why: str) -> FauxdnaError:
    return FauxdnaError(f"{entry.name} is not allowed: {why}", "", errno=errno.EACCES)
