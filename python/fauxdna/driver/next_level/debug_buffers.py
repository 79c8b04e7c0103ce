"""CONFIG_HWCTX of AMD's newer driver: memory that a context's micro-controllers write to (``aie4_ctx_config_debug_bo``)."""

from __future__ import annotations

import errno
import os
import struct
import threading
from typing import Final

from fauxdna.abi import messages_5_24 as firmware
from fauxdna.abi.messages_5_24 import ContextProperty
from fauxdna.abi.uapi_next import FW_BUFFER_METADATA, UC_INFO_ENTRY, FirmwareBuffer

from ...errors import FauxdnaError, InvalidArgument, NotFound, Unsupported
from ..client import Client
from ..gem import BufferObject
from ..open_files import HardwareContext

_PROPERTIES: Final = {
    FirmwareBuffer.DEBUG: ContextProperty.CERT_DEBUG_BUFFER,
    FirmwareBuffer.TRACE: ContextProperty.CERT_TRACE_BUFFER,
    FirmwareBuffer.DEBUG_QUEUE: ContextProperty.CERT_DEBUG_QUEUE,
    FirmwareBuffer.LOG: ContextProperty.CERT_LOG_BUFFER,
}


class DebugBuffers:
    """Buffers assigned to the contexts of one file. Unlike AMD's driver it holds them, so that no later BO is written to."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._held: dict[tuple[HardwareContext, FirmwareBuffer], BufferObject] = {}
        self._lock = threading.Lock()

    def configure(self, handle: int, metadata: int, *, assign: bool) -> None:
        """Assigns the buffer that the BO ``metadata`` describes to context ``handle``, or removes it.

        Raises:
            InvalidArgument: ``EINVAL`` for an unknown context, more than 6 micro-controllers, a description or a share that does
                not fit its BO.
            NotFound: ``EINVAL`` when one of the BOs is not open.
            Unsupported: ``EOPNOTSUPP`` for a kind of buffer that AIE4, or its firmware, has not.
            MessageRefused: ``EINVAL`` when firmware refuses a share.
        """
        context = self._client.context(handle)
        kind, buffer, shares = self._describe(metadata)
        info = [0] * (3 * firmware.UC_COUNT)
        offset = 0
        if assign:
            for index, size in shares:
                if offset + size > buffer.size:
                    raise InvalidArgument(
                        f"shares of {offset + size} bytes and more in a BO of {buffer.size}", "create a larger BO"
                    )
                address = buffer.address + offset
                if size:
                    info[3 * index : 3 * index + 3] = [address & 0xFFFF_FFFF, address >> 32, size]
                offset += size
        logging = firmware.CERT_LOGGING.pack(num=len(shares) if assign else 0, info=tuple(info))
        memory = self._client.function.memory
        memory.get(buffer)
        try:
            self._client.function.ask(
                "CONFIGURE_HW_CONTEXT", hw_context_id=context.id, property=_PROPERTIES[kind], data=struct.unpack("<19I", logging)
            )
        except FauxdnaError:
            memory.put(buffer)
            raise
        with self._lock:
            before = self._held.pop((context, kind), None)
            if assign:
                self._held[context, kind] = buffer
        if not assign:
            memory.put(buffer)
        if before is not None:
            memory.put(before)

    def drop(self, context: HardwareContext) -> None:
        """The context is gone."""
        with self._lock:
            gone = [self._held.pop(key) for key in list(self._held) if key[0] == context]
        for buffer in gone:
            self._client.function.memory.put(buffer)

    def drop_all(self) -> None:
        """All contexts are gone."""
        for context in {key[0] for key in list(self._held)}:
            self.drop(context)

    def _describe(self, handle: int) -> tuple[FirmwareBuffer, BufferObject, list[tuple[int, int]]]:
        """Kind, BO and (micro-controller, bytes) of each share; the description is read once."""
        description = self._bo(handle)
        most = FW_BUFFER_METADATA.size + UC_INFO_ENTRY.size * firmware.UC_COUNT
        try:
            data = os.pread(description.backing.fd, min(most, description.size), description.backing.offset)
        except OSError as error:
            raise InvalidArgument(f"BO {handle} can't be read: {error.strerror}", "describe the buffer in a plain BO") from None
        fields = FW_BUFFER_METADATA.unpack(data.ljust(FW_BUFFER_METADATA.size, b"\0"))
        needed = FW_BUFFER_METADATA.size + UC_INFO_ENTRY.size * fields.num_ucs
        if fields.num_ucs > firmware.UC_COUNT or needed > len(data):
            raise InvalidArgument(f"a buffer for {fields.num_ucs} micro-controllers", f"describe 0 to {firmware.UC_COUNT}")
        if fields.buf_type not in set(FirmwareBuffer):
            raise Unsupported(f"buffer type {fields.buf_type}", "there are 0 (debug), 1 (trace), 2 (debug queue) and 3 (log)")
        shares = []
        for number in range(fields.num_ucs):
            entry = UC_INFO_ENTRY.unpack(data, FW_BUFFER_METADATA.size + UC_INFO_ENTRY.size * number)
            if entry.index >= firmware.UC_COUNT:
                raise InvalidArgument(f"micro-controller {entry.index}", f"there are 0 to {firmware.UC_COUNT - 1}")
            shares.append((entry.index, entry.size))
        return FirmwareBuffer(fields.buf_type), self._bo(fields.bo_handle), shares

    def _bo(self, handle: int) -> BufferObject:
        try:
            return self._client.bo(handle)
        except NotFound as error:
            raise NotFound(error.problem, error.remedy, errno=errno.EINVAL) from None
