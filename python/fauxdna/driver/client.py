"""An open file of a node: handles of BOs and contexts, and what each ioctl does. Mirrors ``amdxdna_ctx.c``, ``amdxdna_gem.c``."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from fauxdna.abi.uapi import (
    INVALID_ADDRESS,
    MAP_OFFSET_BASE,
    BoType,
    CommandType,
    SyncDirection,
)

from ..errors import Busy, DeviceGone, InvalidArgument, NotFound, Unsupported
from .answers import BoInfo, ContextInfo, MapTarget, Qos
from .function import Function
from .gem import BufferObject
from .memory import PAGE_SIZE, BackingStore, MemfdStore, page_align
from .open_files import HardwareContext
from .operations import DeviceOperations
from .vf import Vf
from .waits import Waits

_MAX_CONTEXT: Final = 255
"""``MAX_HWCTX_ID``."""
_MAX_ARGUMENTS: Final = 4095
"""``MAX_ARG_COUNT``."""
_CONFIG_LIMIT: Final = 4096


class Client:
    """One open file of ``function``; ``store`` allocates its BOs (by default each is a memfd).

    ``operations`` makes what serves queries and settings, by default as Linux 7.2 does. Every method may be called from any
    thread; errors carry the errno of the ioctl they stand for.
    """

    def __init__(
        self,
        function: Function,
        store: BackingStore | None = None,
        pid: int | None = None,
        operations: Callable[[Client], DeviceOperations] | None = None,
    ) -> None:
        self.function = function
        self.pid = os.getpid() if pid is None else pid
        self.store = store or MemfdStore()
        self._objects: dict[int, BufferObject] = {}
        self._contexts: dict[int, HardwareContext] = {}
        self._qos: dict[int, Qos] = {}
        self._operations = operations(self) if operations else DeviceOperations(function)
        self._waits = Waits()
        self._next_context = 1
        self._lock = threading.Lock()
        self._closed = False
        function.add_client(self)

    # --- buffers ---------------------------------------------------------------------------------------------------------

    def create_bo(self, size: int, type_: BoType = BoType.SHARE, *, flags: int = 0) -> int:
        """CREATE_BO: the handle of a zeroed BO of ``size`` bytes, rounded up to pages; errors as :meth:`BufferManager.create`."""
        if flags:
            raise InvalidArgument(f"BO flags {flags:#x}", "give 0: Linux 7.2 has none")
        return self._publish(self.function.memory.create(size, type_, self.store))

    def create_bo_from_fd(self, fd: int) -> int:
        """CREATE_BO with a va_tbl that names a dma-buf: like an import, and not exportable."""
        bo = self.function.memory.import_memory(fd, self.store)
        bo.exportable = False
        return self._publish(bo)

    def get_bo_info(self, handle: int) -> BoInfo:
        """GET_BO_INFO. ``vaddr`` is all ones: a mapping's address is its owner's to know."""
        bo = self.bo(handle)
        return BoInfo(bo.backing.map_offset, INVALID_ADDRESS, bo.address)

    def sync_bo(self, handle: int, direction: SyncDirection, offset: int, size: int) -> None:
        """SYNC_BO: memory is coherent, so nothing but the checks happens.

        Raises:
            NotFound: ``ENOENT`` for an unknown handle.
            InvalidArgument: ``EINVAL`` for an offset outside the BO or a range that overflows.
            Unsupported: ``EOPNOTSUPP`` for an imported BO, and for FROM_DEVICE: AIE4 has no debug BO to sync.
        """
        bo = self.bo(handle)
        if bo.imported:
            raise Unsupported(f"BO {handle} is imported: its exporter syncs it", "sync it through the file that made it")
        if not 0 <= offset < bo.size or size < 0 or offset + size > INVALID_ADDRESS:
            raise InvalidArgument(f"sync of {size} bytes at {offset} in BO {handle} of {bo.size}", "stay inside the BO")
        if direction == SyncDirection.FROM_DEVICE:
            raise Unsupported(
                f"SYNC_BO from the device of BO {handle}: 7.2 ends it with a debug-BO sync that AIE4 does not have",
                "leave it out: memory is coherent",
            )

    def prime_handle_to_fd(self, handle: int) -> int:
        """PRIME_HANDLE_TO_FD: a descriptor that any file can import; the caller closes it."""
        return self.function.memory.export(self.bo(handle))

    def prime_fd_to_handle(self, fd: int) -> int:
        """PRIME_FD_TO_HANDLE: the handle of the BO behind ``fd``; the same one each time."""
        bo = self.function.memory.import_memory(fd, self.store)
        with self._lock:
            handle = next((handle for handle, known in self._objects.items() if known is bo), 0)
        if handle:
            self.function.memory.put(bo)
            return handle
        return self._publish(bo)

    def gem_close(self, handle: int) -> None:
        """GEM_CLOSE: the BO lives on while mappings, contexts or other handles hold it. ``EINVAL`` for an unknown handle."""
        self.function.memory.put(self.take_bo(handle))

    def add_bo(self, bo: BufferObject) -> int:
        """A new handle of ``bo``, a BO of this file's function; takes the caller's reference over, whatever happens."""
        return self._publish(bo)

    def take_bo(self, handle: int) -> BufferObject:
        """:meth:`gem_close` that hands the handle's reference to the caller."""
        with self._lock:
            bo = self._objects.pop(handle, None)
        if bo is None:
            raise NotFound(f"BO handle {handle} is not open", "close each handle once", errno=errno.EINVAL)
        return bo

    def has_bo(self, bo: BufferObject) -> bool:
        """Whether a handle of this file stands for ``bo``."""
        with self._lock:
            return any(known is bo for known in self._objects.values())

    def bo(self, handle: int) -> BufferObject:
        """The BO of ``handle``; ``ENOENT`` if there is none."""
        with self._lock:
            bo = self._objects.get(handle)
        if bo is None:
            raise NotFound(f"BO handle {handle} is not open", "use a handle that create_bo or an import returned")
        return bo

    def map_target(self, offset: int, length: int) -> MapTarget:
        """What mmap of the node at ``offset`` shows. A BO in it is not referenced for the caller.

        Raises:
            InvalidArgument: ``EINVAL`` for an offset that no BO or doorbell of this file has, or for too long a range.
        """
        if offset < MAP_OFFSET_BASE:
            return self._doorbell(offset, length)
        with self._lock:
            bo = next((bo for bo in self._objects.values() if bo.backing.map_offset == offset), None)
        if bo is None:
            raise InvalidArgument(f"no BO of this file has mmap offset {offset:#x}", "use get_bo_info's map_offset")
        if not 0 < length <= bo.size:
            raise InvalidArgument(f"mapping {length} bytes of a BO of {bo.size}", "map at most the BO's size")
        return MapTarget(bo.backing.fd, bo.backing.offset, page_align(length), bo)

    @property
    def bo_usage(self) -> tuple[int, int]:
        """Bytes of all BOs, and of those that the runtime made for itself (type CMD)."""
        with self._lock:
            objects = list(self._objects.values())
        return sum(bo.size for bo in objects), sum(bo.size for bo in objects if bo.internal)

    # --- contexts --------------------------------------------------------------------------------------------------------

    def create_hwctx(self, umq_bo: int, num_tiles: int, qos: Qos | None = None) -> ContextInfo:
        """CREATE_HWCTX.

        Raises:
            Unsupported: ``EOPNOTSUPP`` on a PF, which manages and does not compute.
            NotFound: ``ENOENT`` when ``umq_bo`` is no handle of a BO.
            Busy: ``EBUSY`` when this file has 255 contexts.
            InvalidArgument, MessageRefused: as :meth:`Vf.create_context`.
        """
        vf = self.vf("CREATE_HWCTX")
        qos = qos or Qos()
        hardware = vf.create_context(self.bo(umq_bo), num_tiles, qos.priority)
        with self._lock:
            closed = self._closed
            for step in range(0 if closed else _MAX_CONTEXT):
                handle = (self._next_context - 1 + step) % _MAX_CONTEXT + 1
                if handle not in self._contexts:
                    self._contexts[handle] = hardware
                    self._qos[handle] = qos
                    self._next_context = handle + 1
                    return ContextInfo(handle, hardware.doorbell_offset, 0)
        vf.destroy_context(hardware)
        if closed:
            raise _file_closed()
        raise Busy(f"this file has {_MAX_CONTEXT} contexts", "destroy one, or open the device again")

    def firmware_context(self, handle: int) -> int:
        """Firmware's id of a context of this file."""
        return self.context(handle).id

    def context(self, handle: int) -> HardwareContext:
        """The context of ``handle``; ``EINVAL`` if there is none."""
        with self._lock:
            context = self._contexts.get(handle)
        if context is None:
            raise _no_context(handle)
        return context

    def contexts(self) -> dict[int, HardwareContext]:
        """All contexts of this file, by handle."""
        with self._lock:
            return dict(self._contexts)

    def qos(self, handle: int) -> Qos:
        """What a context was created with."""
        return self._qos.get(handle) or Qos()

    def destroy_hwctx(self, handle: int) -> None:
        """DESTROY_HWCTX: waits for the waits of this file, of whatever context, that are under way, as Linux does.

        Commands are not waited for: what is queued or runs is dropped. ``EINVAL`` for an unknown handle.
        """
        context = self.take_hwctx(handle)
        try:
            self.drain_waits(context)
        except BaseException:
            # A signal handler raised: the context is still there, unless its handle was given to another.
            with self._lock:
                taken = self._contexts.setdefault(handle, context) is not context
            if taken:
                self.end_hwctx(handle, context)
            raise
        self.end_hwctx(handle, context)

    def take_hwctx(self, handle: int) -> HardwareContext:
        """The beginning of :meth:`destroy_hwctx`: nobody finds the context any more. ``EINVAL`` for an unknown handle."""
        self.vf("DESTROY_HWCTX", errno.EINVAL)
        with self._lock:
            context = self._contexts.pop(handle, None)
        if context is None:
            raise _no_context(handle)
        return context

    def waited_for(self, context: HardwareContext) -> bool:
        """Whether :meth:`drain_waits` would wait."""
        return bool(self._waits) or self.vf("DESTROY_HWCTX").completions.waited_for(self._completions(context))

    def drain_waits(self, context: HardwareContext) -> None:
        """Returns when the waits are over that are under way in this file, for ``context`` (which was taken) or another."""
        self.vf("DESTROY_HWCTX").completions.drain(self._completions(context))
        self._waits.synchronise()

    def end_hwctx(self, handle: int, context: HardwareContext) -> None:
        """The end of :meth:`destroy_hwctx`: the context that was taken is destroyed."""
        self.vf("DESTROY_HWCTX").destroy_context(context)
        with self._lock:
            if handle not in self._contexts:
                self._qos.pop(handle, None)
        self._operations.hwctx_ended(context)

    def config_hwctx(self, handle: int, param: int, value: bytes | int) -> None:
        """CONFIG_HWCTX; this and the other queries and settings as the file's :class:`DeviceOperations` have them."""
        self._operations.config_hwctx(handle, param, value)

    def exec_cmd(self, hwctx: int, command: int, arguments: tuple[int, ...] = (), type_: int = CommandType.EXEC_BUF) -> int:
        """EXEC_CMD: AIE4 commands go through the host queue: ``EOPNOTSUPP`` after 7.2's checks of type and count."""
        if type_ != CommandType.EXEC_BUF:
            raise InvalidArgument(f"command type {type_}", "use EXEC_BUF")
        if len(arguments) > _MAX_ARGUMENTS:
            raise InvalidArgument(f"{len(arguments)} argument BOs", f"give at most {_MAX_ARGUMENTS}")
        raise Unsupported(
            f"EXEC_CMD of BO {command} on context {hwctx}: AIE4 contexts have a user-mode queue",
            "write a packet and ring the doorbell",
        )

    def wait_cmd(self, hwctx: int, sequence: int, timeout_ms: int = 0) -> None:
        """WAIT_CMD: until command ``sequence`` of the context is done; 0 ms waits without end.

        Raises:
            InvalidArgument: ``EINVAL`` for an unknown context.
            DeviceTimeout: ``ETIME``.
        """
        with self.waiting(hwctx) as wait:
            wait(sequence, timeout_ms)

    @contextmanager
    def waiting(self, hwctx: int) -> Iterator[Callable[[int, int], None]]:
        """A WAIT_CMD in several steps: gives :meth:`wait_cmd` for one context, which is not destroyed meanwhile."""
        vf = self.vf("WAIT_CMD")
        with self._waits.one():
            yield partial(vf.wait, self.context(hwctx))

    def completion(self, hwctx: int) -> int:
        """What the function's ``completions`` call the queue of context ``hwctx``. ``EINVAL`` for an unknown context."""
        return self.context(hwctx).completion

    # --- information -----------------------------------------------------------------------------------------------------

    def get_info(self, param: int, size: int, data: bytes = b"") -> bytes:
        """GET_INFO: at most ``size`` bytes come back; ``data`` is what the caller's buffer holds."""
        return self._operations.get_info(param, size, data)

    def aie_status(self, size: int) -> tuple[bytes, int]:
        """GET_INFO of AIE_STATUS, whose buffer of ``size`` bytes is another one: status of columns, and a bit map of them."""
        return self._operations.aie_status(size)

    def get_array(self, param: int, element_size: int, count: int, data: bytes = b"") -> tuple[int, int, bytes]:
        """GET_ARRAY: element size, number of elements, and their bytes; ``data`` is what the caller's buffer holds."""
        return self._operations.get_array(param, element_size, count, data)

    def set_state(self, param: int, data: bytes) -> None:
        """SET_STATE."""
        self._operations.set_state(param, data)

    # --- life ------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Destroys contexts and closes handles, as the last close of the file. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            contexts = list(self._contexts.values())
            objects = list(self._objects.values())
            self._contexts.clear()
            self._objects.clear()
        if isinstance(self.function, Vf):
            for context in contexts:
                self.function.destroy_context(context)
        self._operations.close()
        for bo in objects:
            self.function.memory.put(bo)
        self.function.remove_client(self)

    def vf(self, what: str, number: int = errno.EOPNOTSUPP) -> Vf:
        """The function, for what only a VF does: ``what`` on a PF is refused with ``number``."""
        if not isinstance(self.function, Vf):
            raise Unsupported(
                f"{what} on {self.function.name}: a PF has no queues", "create a VF and open its node", errno=number
            )
        return self.function

    def _completions(self, context: HardwareContext) -> list[int]:
        return [context.completion, *(other.completion for other in self.contexts().values())]

    def _publish(self, bo: BufferObject) -> int:
        with self._lock:
            if not self._closed:
                handle = next(handle for handle in range(1, len(self._objects) + 2) if handle not in self._objects)
                self._objects[handle] = bo
                return handle
        self.function.memory.put(bo)
        raise _file_closed()

    def _doorbell(self, offset: int, length: int) -> MapTarget:
        vf = self.vf("mmap of a doorbell")
        with self._lock:
            known = offset in {context.doorbell_offset for context in self._contexts.values()}
        if not known:
            raise InvalidArgument(f"no context of this file has doorbell offset {offset:#x}", "use create_hwctx's umq_doorbell")
        if not 0 < length <= PAGE_SIZE:
            raise InvalidArgument(f"mapping {length} bytes of a doorbell", "map one page")
        page = vf.doorbell_page(offset)
        return MapTarget(page.fd, page.offset, PAGE_SIZE)


def _file_closed() -> DeviceGone:
    return DeviceGone("this file is closed", "open the device again", errno=errno.EBADF)


def _no_context(handle: int) -> InvalidArgument:
    return InvalidArgument(f"context handle {handle} is not open", "use the handle that create_hwctx returned")
