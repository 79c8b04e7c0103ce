"""Management firmware from the host's side: find its mailbox, speak its protocol. Mirrors ``aie4_message.c``."""

from __future__ import annotations

import errno
import struct

from fauxdna.abi import bars
from fauxdna.abi._declare import Record
from fauxdna.abi.messages import Message, Protocol, Status
from fauxdna.abi.protocols import PROTOCOLS

from ..errors import DeviceError, DeviceGone, DeviceTimeout, MessageRefused, Unsupported
from .interrupts import Vector
from .mailbox import RECEIVE_TIMEOUT_S, Channel, Pending, Ring
from .registers import Registers


def read_mailbox_info(sram: Registers) -> Record:
    """Waits for ``mailbox_info.valid`` and reads the rest; ``ETIMEDOUT`` if firmware does not come up within a second."""
    sram.poll(bars.MAILBOX_INFO_OFFSET, lambda valid: valid == 1, "firmware does not run (mailbox_info.valid)")
    words = [sram.read(bars.MAILBOX_INFO_OFFSET + at) for at in range(0, bars.MAILBOX_INFO.size, 4)]
    return bars.MAILBOX_INFO.unpack(struct.pack(f"<{len(words)}I", *words))


def choose_protocol(major: int, minor: int) -> Protocol:
    """The newest protocol this driver knows that firmware ``major``.``minor`` speaks; ``EOPNOTSUPP`` if there is none."""
    known = [version for version in PROTOCOLS if version[0] == major and version[1] <= minor]
    if not known:
        spoken = ", ".join(f"{a}.{b} and later {a}.x" for a, b in PROTOCOLS)
        raise Unsupported(f"firmware speaks mailbox protocol {major}.{minor}; this driver knows {spoken}", "load other firmware")
    return PROTOCOLS[max(known)]


class Management:
    """A conversation with management firmware."""

    def __init__(self, protocol: Protocol, channel: Channel) -> None:
        self.protocol = protocol
        self._channel: Channel | None = channel

    @classmethod
    def start(cls, registers: Registers, sram: Registers, info: Record, vector: Vector) -> Management:
        """The conversation over the rings that ``info`` (``mailbox_info``) describes."""
        x2i = Ring(info.x2i_head_offset, info.x2i_tail_offset, info.x2i_buffer_addr, info.x2i_buffer_size)
        i2x = Ring(info.i2x_head_offset, info.i2x_tail_offset, info.i2x_buffer_addr, info.i2x_buffer_size)
        protocol = choose_protocol(info.protocol_major, info.protocol_minor)
        return cls(protocol, Channel(registers, sram, x2i, i2x, vector))

    def knows(self, name: str) -> bool:
        """Whether firmware has the message called ``name``."""
        return any(message.name == name for message in self.protocol.messages.values())

    def send(self, name: str, **request: object) -> Pending:
        """Sends the message called ``name`` and does not wait; give what it returns to :meth:`finish`."""
        message = self.protocol[name]
        return self._require().send(message.opcode, message.request.pack(**request))

    def finish(self, pending: Pending, timeout: float = RECEIVE_TIMEOUT_S) -> Record:
        """The response.

        Raises:
            DeviceTimeout: ``ETIME``; the mailbox is closed then, and every later message fails with ``ENODEV``, as in Linux.
            MessageRefused: ``EINVAL`` for a status other than SUCCESS.
            DeviceError: ``EINVAL`` for a response of another size than the message's.
        """
        message = self.protocol.messages[pending.opcode]
        try:
            data = pending.wait(timeout)
        except DeviceTimeout:
            self._channel = None
            raise
        return _response(message, data)

    def call(self, name: str, **request: object) -> Record:
        """Sends a message and waits for the response; errors as :meth:`finish`."""
        return self.finish(self.send(name, **request))

    def stop(self) -> None:
        """No message goes out after this."""
        self._channel = None

    def _require(self) -> Channel:
        if self._channel is None:
            raise DeviceGone("the management mailbox is closed", "reset the function and probe it again")
        return self._channel


def _response(message: Message, data: bytes) -> Record:
    if len(data) != message.response.size:
        raise DeviceError(
            f"{message.name} was answered with {len(data)} bytes, not {message.response.size}",
            "firmware and driver do not fit",
            errno=errno.EINVAL,
        )
    response = message.response.unpack(data)
    if response.status != Status.SUCCESS:
        known = {int(status): status.name for status in Status}
        raise MessageRefused(
            f"firmware answered {message.name} with {known.get(response.status, response.status)}",
            "the device's log says why",
            status=response.status,
        )
    return response
