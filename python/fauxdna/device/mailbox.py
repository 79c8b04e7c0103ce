"""A function's mailbox: two rings in SRAM, their head and tail registers in BAR0, and who answers.

The host may write anything into rings and registers. A message that can't be framed stops the mailbox until the function is reset
or firmware starts afresh; a message that is framed and makes no sense is answered with an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fauxdna._core import Interrupts
from fauxdna.abi import bars, mailbox
from fauxdna.abi._declare import Record
from fauxdna.abi.messages import STATUS_RESPONSE, Protocol, Status
from fauxdna.log import Logger

from .faults import MailboxFaults
from .sram import Sram

Handler = Callable[[int, bytes], bytes]
"""Answers a request: opcode and payload to response payload."""

_HEADER_SIZE = mailbox.HEADER.size
_USABLE = bars.RING_SIZE - mailbox.TOMBSTONE_SIZE
_WRITABLE = (bars.X2I_TAIL, bars.I2X_HEAD)


@dataclass(frozen=True)
class _Message:
    header: Record
    payload: bytes
    end: int


class _Halt(Exception):
    """The host broke the ring's rules; the text says how."""


class Mailbox:
    """The device's side of one function's mailbox. Not thread-safe: the die's lock guards it."""

    def __init__(self, sram: Sram, interrupts: Interrupts, logger: Logger) -> None:
        self._sram = sram
        self._interrupts = interrupts
        self._log = logger
        self._registers = dict.fromkeys((bars.X2I_TAIL, bars.X2I_HEAD, bars.I2X_TAIL, bars.I2X_HEAD), 0)
        self._handler: Handler | None = None
        self.faults: MailboxFaults | None = None
        """What goes wrong here, in tests of drivers."""
        self._waiting: bytes | None = None
        self._held: object | None = None
        """While an answer is late: which one."""
        self._halted = False

    @property
    def open(self) -> bool:
        """Whether firmware answers here."""
        return self._handler is not None

    def start(self, protocol: Protocol, handler: Handler) -> None:
        """Empties the rings, tells the host where they are, and answers from now on."""
        self.stop()
        self._handler = handler
        self._sram.write(
            bars.MAILBOX_INFO_OFFSET,
            bars.MAILBOX_INFO.pack(
                valid=1,
                protocol_major=protocol.major,
                protocol_minor=protocol.minor,
                x2i_tail_offset=bars.X2I_TAIL,
                x2i_head_offset=bars.X2I_HEAD,
                x2i_buffer_addr=bars.X2I_RING,
                x2i_buffer_size=bars.RING_SIZE,
                i2x_tail_offset=bars.I2X_TAIL,
                i2x_head_offset=bars.I2X_HEAD,
                i2x_buffer_addr=bars.I2X_RING,
                i2x_buffer_size=bars.RING_SIZE,
                i2x_msi_idx=bars.MAILBOX_VECTOR,
            ),
        )

    def stop(self) -> None:
        """Answers no more: ``valid`` reads 0 and the registers read 0."""
        self._handler = None
        self._waiting = self._held = None
        self._halted = False
        self._registers = dict.fromkeys(self._registers, 0)
        self._sram.write(bars.MAILBOX_INFO_OFFSET, bytes(bars.MAILBOX_INFO.size))

    def read(self, offset: int) -> int:
        """The word at ``offset`` of BAR0."""
        return self._registers.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """Writes the word at ``offset`` of BAR0. Messages are worked, and answered if there is room, before this returns."""
        if offset not in _WRITABLE:
            return
        self._registers[offset] = value
        self._go_on()

    def _go_on(self) -> None:
        if self._handler is None or self._halted:
            return
        try:
            self._work(self._handler)
        except _Halt as reason:
            self._halted = True
            self._log.error(f"mailbox stopped: {reason}; reset the function")

    def _work(self, handler: Handler) -> None:
        """Answers messages until the ring is empty or the answers find no room. The tail is fixed, so this ends."""
        tail = self._registers[bars.X2I_TAIL]
        if tail > bars.RING_SIZE or tail % 4:
            raise _Halt(f"x2i tail {tail:#x} is not a multiple of 4 up to {bars.RING_SIZE:#x}")
        while self._flush():
            message = self._take(tail)
            if message is None:
                return
            if self.faults is not None and self.faults.swallows(message.header.opcode):
                self._log.warning(f"opcode {message.header.opcode:#x} is not worked: mailbox-silent")
                self._registers[bars.X2I_HEAD] = message.end
                continue
            response = self._answer(handler, message)
            if self._handler is not handler:
                return  # The message ended this mailbox's firmware.
            self._registers[bars.X2I_HEAD] = message.end
            self._waiting = mailbox.HEADER.pack(
                total_size=len(response),
                size_version=mailbox.SIZE_VERSION.encode(size=len(response), version=mailbox.VERSION)[0],
                id=message.header.id,
                opcode=message.header.opcode,
            )
            self._waiting += response
            if self.faults is not None:
                self._hold(self.faults, message.header.opcode)

    def _hold(self, faults: MailboxFaults, opcode: int) -> None:
        """Answers later if a fault says so; until then requests stay in the ring."""
        seconds = faults.delay(opcode)
        if not seconds:
            return
        held = self._held = object()

        def release() -> None:
            if self._held is held:
                self._held = None
                self._go_on()

        self._log.warning(f"opcode {opcode:#x} is answered in {seconds:g} s: mailbox-slow")
        faults.later(seconds, release)

    def _take(self, tail: int) -> _Message | None:
        """The next message, copied out of the ring before anything in it is judged; ``None`` if there is none."""
        head = self._registers[bars.X2I_HEAD]
        if head == tail:
            return None
        if head == bars.RING_SIZE:
            head = 0
        data = self._sram.read(bars.X2I_RING + head, _HEADER_SIZE)
        if int.from_bytes(data[:4], "little") == mailbox.TOMBSTONE:
            if head < tail:
                raise _Halt(f"tombstone at {head:#x}, before the tail at {tail:#x}")
            self._registers[bars.X2I_HEAD] = 0
            return self._take(tail)
        limit = tail if head < tail else bars.RING_SIZE
        header = mailbox.HEADER.unpack(data)
        end = head + _HEADER_SIZE + header.total_size
        if header.total_size % 4 or end > limit:
            raise _Halt(f"message of {header.total_size} bytes at {head:#x} does not end by {limit:#x} at a multiple of 4")
        return _Message(header, self._sram.read(bars.X2I_RING + head + _HEADER_SIZE, header.total_size), end)

    def _answer(self, handler: Handler, message: _Message) -> bytes:
        words = mailbox.SIZE_VERSION.decode([message.header.size_version])
        header = message.header
        problem = None
        if words.version != mailbox.VERSION:
            problem = f"message version {words.version}, not {mailbox.VERSION}"
        elif words.size != header.total_size:
            problem = f"message of {header.total_size} bytes sent as a part of {words.size}: split messages are not used"
        elif header.id & mailbox.ID_MAGIC_MASK != mailbox.ID_MAGIC:
            problem = f"message id {header.id:#x} does not start with {mailbox.ID_MAGIC >> 24:#x}"
        if problem is None:
            return handler(header.opcode, message.payload)
        self._log.warning(f"opcode {header.opcode:#x} refused: {problem}")
        return STATUS_RESPONSE.pack(status=Status.ERROR)

    def _flush(self) -> bool:
        """Puts the answer that waits into the i2x ring; false if there is no room until the host takes some."""
        if self._waiting is None:
            return True
        if self._held is not None:
            return False
        size = len(self._waiting)
        tail = self._registers[bars.I2X_TAIL]
        head = self._registers[bars.I2X_HEAD]
        if head > bars.RING_SIZE or head % 4:
            raise _Halt(f"i2x head {head:#x} is not a multiple of 4 up to {bars.RING_SIZE:#x}")
        if tail >= head and tail + size > _USABLE:
            if size >= head:
                return False
            self._sram.write(bars.I2X_RING + tail, mailbox.TOMBSTONE.to_bytes(mailbox.TOMBSTONE_SIZE, "little"))
            tail = 0
        elif tail < head <= tail + size:
            return False
        self._sram.write(bars.I2X_RING + tail, self._waiting)
        self._registers[bars.I2X_TAIL] = tail + size
        self._waiting = None
        self._interrupts.trigger(bars.MAILBOX_VECTOR)
        return True
