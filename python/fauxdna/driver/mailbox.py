"""The mailbox from the host's side: two rings in SRAM, and many messages in flight. Mirrors ``amdxdna_mailbox.c``."""

from __future__ import annotations

import errno
import threading
import time
from dataclasses import dataclass
from typing import Final

from fauxdna.abi.mailbox import HEADER, ID_MAGIC, ID_MAGIC_MASK, IDS, SIZE_VERSION, TOMBSTONE, TOMBSTONE_SIZE, VERSION

from ..errors import Busy, DeviceError, DeviceGone, DeviceTimeout, InvalidArgument
from .interrupts import Vector
from .registers import ALL_ONES, Registers, poll

SEND_TIMEOUT_S: Final = 0.1
"""How long a full ring is waited for; Linux gives up after 100 us."""
RECEIVE_TIMEOUT_S: Final = 5.0
"""``RX_TIMEOUT`` of Linux 7.2."""


@dataclass(frozen=True)
class Ring:
    """One ring: byte offset and size in SRAM, and its head and tail registers."""

    head: int
    tail: int
    start: int
    size: int


class Pending:
    """A message under way."""

    def __init__(self, channel: Channel, identifier: int, opcode: int) -> None:
        self._channel = channel
        self.id = identifier
        self.opcode = opcode
        self.response: bytes | None = None

    def wait(self, timeout: float = RECEIVE_TIMEOUT_S) -> bytes:
        """The response's payload; :class:`DeviceTimeout` (``ETIME``) after ``timeout`` seconds."""
        return self._channel.wait(self, timeout)


class Channel:
    """The management channel of one function. Every method may be called from any thread."""

    def __init__(self, registers: Registers, sram: Registers, x2i: Ring, i2x: Ring, vector: Vector) -> None:
        for ring in (x2i, i2x):
            if ring.size <= 0 or ring.size & (ring.size - 1):
                raise DeviceError(
                    f"mailbox ring at {ring.start:#x} has {ring.size} bytes, not a power of two",
                    "firmware and driver do not fit",
                    errno=errno.EINVAL,
                )
        self._registers = registers
        self._sram = sram
        self._x2i = x2i
        self._i2x = i2x
        self._vector = vector
        self._x2i_tail = registers.read(x2i.tail)
        self._i2x_head = registers.read(i2x.head)
        self._pending: dict[int, Pending] = {}
        self._next_id = 0
        self._broken: str | None = None
        self._lock = threading.Lock()

    @property
    def in_flight(self) -> int:
        """Messages without a response yet."""
        return len(self._pending)

    def send(self, opcode: int, payload: bytes) -> Pending:
        """Puts one message into the ring and rings firmware.

        Raises:
            InvalidArgument: ``EINVAL`` for a payload that is empty, not whole words, too large, or starts with the tombstone.
            DeviceError: ``EPIPE`` after the device wrote nonsense into its ring.
            DeviceGone: ``ENODEV`` when the function was removed.
            DeviceTimeout: ``ETIMEDOUT`` when the ring stays full.
            Busy: ``EBUSY`` with 256 messages in flight.
        """
        length = HEADER.size + len(payload)
        if not payload or len(payload) % 4 or length > self._x2i.size - TOMBSTONE_SIZE:
            raise InvalidArgument(
                f"message {opcode:#x} of {len(payload)} payload bytes in a ring of {self._x2i.size}",
                "send at least one and only whole words that fit",
            )
        if int.from_bytes(payload[:4], "little") == TOMBSTONE:
            raise InvalidArgument(f"message {opcode:#x} starts with the tombstone {TOMBSTONE:#x}", "send another first word")
        with self._lock:
            self._check()
            pending = Pending(self, self._acquire(), opcode)
            size_version = SIZE_VERSION.encode(size=len(payload) & 0x7FF, version=VERSION)[0]
            header = HEADER.pack(total_size=len(payload), size_version=size_version, id=pending.id | ID_MAGIC, opcode=opcode)
            self._pending[pending.id] = pending
            try:
                self._put(header + payload)
            except Exception:
                del self._pending[pending.id]
                raise
            return pending

    def wait(self, pending: Pending, timeout: float) -> bytes:
        """See :meth:`Pending.wait`."""

        def answered() -> bool:
            with self._lock:
                self._receive()
                return pending.response is not None or self._broken is not None

        self._vector.wait(answered, time.monotonic() + timeout)
        with self._lock:
            self._pending.pop(pending.id, None)
            if pending.response is None:
                self._check()
                raise DeviceTimeout(
                    f"message {pending.opcode:#x} has no response after {timeout:g} s", "reset the function and probe it again"
                )
            return pending.response

    def _check(self) -> None:
        if self._broken is not None:
            raise DeviceError(
                f"the mailbox is out of order: {self._broken}", "reset the function and probe it again", errno=errno.EPIPE
            )

    def _acquire(self) -> int:
        for step in range(IDS):
            candidate = (self._next_id + step) % IDS
            if candidate not in self._pending:
                self._next_id = (candidate + 1) % IDS
                return candidate
        raise Busy(f"{IDS} messages are in flight", "wait for one of them first")

    def _put(self, message: bytes) -> None:
        place = -1

        def room() -> int:
            nonlocal place
            head = self._registers.read(self._x2i.head)
            if head == ALL_ONES:
                raise DeviceGone("the mailbox reads all ones: the function was removed", "enable it again through its PF")
            place = self._place(head, len(message))
            return place

        poll(room, lambda at: at >= 0, f"no room for {len(message)} bytes in the mailbox", timeout=SEND_TIMEOUT_S)
        if place != self._x2i_tail:
            self._sram.write(self._x2i.start + self._x2i_tail, TOMBSTONE)
        self._sram.write_block(self._x2i.start + place, message)
        self._x2i_tail = place + len(message)
        self._registers.write(self._x2i.tail, self._x2i_tail)

    def _place(self, head: int, length: int) -> int:
        """Where ``length`` bytes may go with firmware's head at ``head``, or -1. The last word is kept for a tombstone."""
        tail = self._x2i_tail
        if tail < head:
            return tail if tail + length < head else -1
        if tail + length <= self._x2i.size - TOMBSTONE_SIZE:
            return tail
        return 0 if length < head else -1

    def _receive(self) -> None:
        while self._broken is None and self._take():
            pass

    def _take(self) -> bool:
        """Takes one message or tombstone out of the i2x ring; False when the ring is empty or out of order."""
        ring = self._i2x
        tail = self._registers.read(ring.tail)
        if tail > ring.size or tail % 4:
            return self._fail(f"tail {tail:#x} in a ring of {ring.size:#x} bytes")
        head = self._i2x_head
        if head == tail:
            return False
        if head == ring.size:
            head = 0
        # One read of the header: what is checked is what is used, whatever the device writes meanwhile.
        left = ring.size - head
        block = self._sram.read_block(ring.start + head, min(HEADER.size, left))
        total_size = int.from_bytes(block[:4], "little")
        if total_size == TOMBSTONE:
            if head < tail:
                return self._fail(f"a tombstone at {head:#x}, before the tail {tail:#x}")
            self._set_head(0)
            return True
        available = (tail if tail > head else ring.size) - head
        if not total_size or total_size % 4 or len(block) < HEADER.size or HEADER.size + total_size > available:
            return self._fail(f"a message of {total_size} bytes at {head:#x}, tail {tail:#x}")
        header = HEADER.unpack(block)
        if header.id & ID_MAGIC_MASK != ID_MAGIC:
            return self._fail(f"a response with id {header.id:#x}")
        pending = self._pending.pop(header.id & ~ID_MAGIC_MASK, None)
        if pending is None:
            return self._fail(f"a response with id {header.id:#x}, which nobody waits for")
        pending.response = self._sram.read_block(ring.start + head + HEADER.size, total_size)
        self._set_head(head + HEADER.size + total_size)
        return True

    def _fail(self, why: str) -> bool:
        self._broken = why
        return False

    def _set_head(self, head: int) -> None:
        self._registers.write(self._i2x.head, head)
        self._i2x_head = head
