"""What firmware writes into rings of host memory: its log, and the trace of its events (amd/xdna-driver ``amdxdna_dpt.c``)."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from fauxdna.abi import firmware_ring as abi
from fauxdna.abi._declare import Record
from fauxdna.abi.firmware_ring import RingType
from fauxdna.abi.messages_5_24 import EventDestination, EventTimestamp, LogLevel, RuntimeConfig
from fauxdna.log import Logger

from ..errors import DeviceGone, InvalidArgument
from .gem import BufferManager
from .memory import Backing

_ROOM: Final = abi.BUFFER_SIZE - abi.FOOTER_SIZE
_LOW: Final = 0xFFFF_FFFF


class FirmwareStream:
    """The log or the trace of one function (``struct amdxdna_dpt``), for all its files; ``ask`` is the function's."""

    def __init__(self, kind: RingType, ask: Callable[..., Record], memory: BufferManager, log: Logger) -> None:
        self._kind = kind
        self._ask = ask
        self._buffers = memory
        self._log = log
        self._lock = threading.Lock()
        self._memory = ExitStack()
        self._backing: Backing | None = None
        self._tail = 0
        self._config = 0

    def state(self) -> dict[str, int]:
        """``struct amdxdna_drm_get_dpt_state``; zeros while it is off."""
        with self._lock:
            if self._backing is None:
                return {"version": 0, "status": 0, "config": 0}
            return {"version": self._footer(self._backing).payload_version, "status": 1, "config": self._config}

    def set(self, action: int, config: int) -> None:
        """Starts, changes or stops it; ``config`` is a log level or categories, 0 AMD's default.

        Raises:
            InvalidArgument: ``EINVAL``, no such log level.
            Unsupported: ``EOPNOTSUPP``, firmware has none.
        """
        with self._lock:
            if not action:
                self._stop()
                return
            config = config or (LogLevel.ERROR if self._kind is RingType.LOG else abi.ALL_CATEGORIES)
            if self._kind is RingType.LOG and config > LogLevel.DEBUG:
                raise InvalidArgument(f"firmware log level {config}", f"set 1 to {LogLevel.DEBUG.value}")
            if self._backing is None:
                self._start(config)
            elif config != self._config:
                self._change(config)
            self._config = config

    def read(self, offset: int, size: int) -> tuple[int, bytes]:
        """At most ``size`` of the bytes written since ``offset``, and the offset behind them. What was overwritten is left out.

        Raises:
            DeviceGone: ``ESHUTDOWN``, it is off.
            InvalidArgument: ``EINVAL``, so much was never written.
        """
        with self._lock:
            backing = self._backing
            if backing is None:
                raise DeviceGone(f"firmware keeps no {self._kind.name}", "switch it on", errno=errno.ESHUTDOWN)
            self._tail += (self._footer(backing).tail - self._tail) & _LOW
            if offset > self._tail:
                raise InvalidArgument(f"offset {offset} of {self._tail} bytes", "go on where the last answer ended")
            start = max(offset, self._tail - _ROOM)
            end = min(self._tail, start + size)
            at = start % _ROOM
            first = os.pread(backing.fd, min(end - start, _ROOM - at), backing.offset + at)
            return end, first + os.pread(backing.fd, end - start - len(first), backing.offset)

    def close(self) -> None:
        """The function is stopped."""
        with self._lock:
            self._stop()

    def _footer(self, backing: Backing) -> Record:
        return abi.FOOTER.unpack(os.pread(backing.fd, abi.FOOTER.size, backing.offset + _ROOM))

    def _start(self, config: int) -> None:
        with ExitStack() as undo:
            backing, address = undo.enter_context(self._buffers.driver_memory(abi.BUFFER_SIZE, abi.BUFFER_SIZE))
            if self._kind is RingType.LOG:
                self._ask("DRAM_LOGGING_START", buff_addr=address, buff_size=abi.BUFFER_SIZE, log_level=config)
            else:
                self._ask(
                    "START_EVENT_TRACE",
                    event_trace_categories=config,
                    event_trace_dest=EventDestination.DRAM,
                    event_trace_timestamp=EventTimestamp.NS_OFFSET,
                    dram_buffer_address=address,
                    dram_buffer_size=abi.BUFFER_SIZE,
                )
            self._memory = undo.pop_all()
        self._backing, self._tail = backing, 0

    def _change(self, config: int) -> None:
        if self._kind is RingType.LOG:
            self._ask("SET_RUNTIME_CONFIG", type=RuntimeConfig.DYNAMIC_LOGGING_LEVEL, data=config)
        else:
            self._ask("SET_EVENT_TRACE_CATEGORIES", event_trace_categories=config)

    def _stop(self) -> None:
        if self._backing is None:
            return
        try:
            self._ask("DRAM_LOGGING_STOP" if self._kind is RingType.LOG else "STOP_EVENT_TRACE")
        except OSError as error:
            self._log.warning(f"{self._kind.name} of firmware did not end in order: {error}")
        self._backing, self._config = None, 0
        self._memory.close()
