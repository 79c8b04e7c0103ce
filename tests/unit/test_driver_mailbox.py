"""The driver's mailbox client; the test is the firmware."""

from __future__ import annotations

import errno
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from _patience import PATIENCE, eventually
from fake_bus import FakeBus
from hypothesis import given, settings
from hypothesis import strategies as st

from fauxdna.abi.mailbox import TOMBSTONE
from fauxdna.bus import Region
from fauxdna.driver.interrupts import Vector
from fauxdna.driver.mailbox import Channel, Ring
from fauxdna.driver.registers import Registers
from fauxdna.errors import Busy, DeviceError, DeviceTimeout, InvalidArgument

X2I = Ring(head=0x104, tail=0x100, start=0x1000, size=256)
I2X = Ring(head=0x10C, tail=0x108, start=0x2000, size=256)


class Firmware:
    """Answers each message with its payload, when told to."""

    def __init__(self, bus: FakeBus | None = None) -> None:
        self.bus = bus or FakeBus()
        table = Registers(self.bus, Region.BAR1)
        self.vector = Vector(self.bus, table, 0, 0)
        self.channel = Channel(Registers(self.bus, Region.BAR0), Registers(self.bus, Region.BAR2), X2I, I2X, self.vector)
        self.head = 0
        self.tail = 0

    def take(self) -> tuple[int, int, bytes]:
        """(id, opcode, payload) of the next message."""
        sram = self.bus.memory[Region.BAR2]
        size, size_version, identifier, opcode = struct.unpack_from("<4I", sram, X2I.start + self.head)
        if size == TOMBSTONE:
            self.head = 0
            return self.take()
        assert size_version == size | 1 << 16
        payload = bytes(sram[X2I.start + self.head + 16 :][:size])
        self.head += 16 + size
        self.bus.poke32(Region.BAR0, X2I.head, self.head)
        return identifier, opcode, payload

    def put(self, data: bytes) -> None:
        """Writes raw bytes to the i2x ring and moves the tail."""
        if self.tail + len(data) > I2X.size:
            self.bus.poke32(Region.BAR2, I2X.start + self.tail, TOMBSTONE)
            self.tail = 0
        at = I2X.start + self.tail
        self.bus.memory[Region.BAR2][at : at + len(data)] = data
        self.tail += len(data)
        self.bus.poke32(Region.BAR0, I2X.tail, self.tail)
        os.eventfd_write(self.bus.irqs[0], 1)

    def answer(self) -> None:
        """Echoes the next message."""
        identifier, opcode, payload = self.take()
        self.put(struct.pack("<4I", len(payload), len(payload) | 1 << 16, identifier, opcode) + payload)


@pytest.fixture
def firmware() -> Iterator[Firmware]:
    firmware = Firmware()
    yield firmware
    firmware.vector.close()


def test_bytes_of_a_message(firmware: Firmware) -> None:
    firmware.channel.send(0x30006, b"\x07\0\0\0")
    # Linux 7.2 struct xdna_msg_header: total_size, size | version 1 << 16, 0x1D000000 | id, opcode; then the payload.
    assert firmware.bus.memory[Region.BAR2][0x1000:0x1014].hex() == "04000000040001000000001d0600030007000000"
    assert firmware.bus.read32(Region.BAR0, X2I.tail) == 20


def test_responses_in_any_order_reach_their_senders(firmware: Firmware) -> None:
    pending = [firmware.channel.send(1, struct.pack("<I", value)) for value in range(4)]
    messages = [firmware.take() for _ in pending]
    for identifier, opcode, payload in reversed(messages):
        firmware.put(struct.pack("<4I", 4, 4 | 1 << 16, identifier, opcode) + payload)
    assert [p.wait() for p in pending] == [struct.pack("<I", value) for value in range(4)]
    assert firmware.channel.in_flight == 0


def test_rings_wrap_with_tombstones(firmware: Firmware) -> None:
    for turn in range(100):
        payload = bytes([turn]) * (4 + 4 * (turn % 13))
        pending = firmware.channel.send(turn, payload)
        firmware.answer()
        assert pending.wait() == payload


def test_a_full_ring_is_back_pressure_and_not_an_overwrite(firmware: Firmware) -> None:
    # 7 messages of 32 bytes leave 256 - 224 = 32, of which the last word is kept for a tombstone.
    for opcode in range(7):
        firmware.channel.send(opcode, b"abcd" * 4)
    with pytest.raises(DeviceTimeout) as caught:
        firmware.channel.send(7, b"abcd" * 4)
    assert caught.value.errno == errno.ETIMEDOUT
    assert [firmware.take()[1] for _ in range(7)] == list(range(7))


def test_a_wrapped_message_never_reaches_the_head(firmware: Firmware) -> None:
    for _ in range(7):
        firmware.channel.send(1, b"abcd" * 4)
    for _ in range(2):
        firmware.take()
    # Firmware's head is 64: a message of 32 fits at 0, a second would make tail == head, which means empty.
    firmware.channel.send(2, b"wrap" * 4)
    with pytest.raises(DeviceTimeout):
        firmware.channel.send(3, b"full" * 4)
    assert [firmware.take()[1] for _ in range(6)] == [1, 1, 1, 1, 1, 2]


def test_no_response_is_etime(firmware: Firmware) -> None:
    with pytest.raises(DeviceTimeout) as caught:
        firmware.channel.send(1, bytes(4)).wait(0.05)
    assert caught.value.errno == errno.ETIME


@pytest.mark.parametrize("payload", [b"", b"abc", bytes(256), struct.pack("<I", TOMBSTONE)])
def test_payloads_that_can_not_be_sent(firmware: Firmware, payload: bytes) -> None:
    with pytest.raises(InvalidArgument):
        firmware.channel.send(1, payload)


@pytest.mark.parametrize(
    ("data", "tail"),
    [
        (b"", 260),
        (b"", 6),
        (struct.pack("<I", TOMBSTONE), 20),
        (struct.pack("<4I", 0, 0, 0x1D000000, 1), 16),
        (struct.pack("<4I", 6, 6, 0x1D000000, 1), 24),
        (struct.pack("<4I", 0xFFFFFFF0, 0, 0x1D000000, 1), 16),
        (struct.pack("<4I", 8, 8, 0x1D000000, 1), 20),
        (struct.pack("<5I", 4, 4, 0x2D000000, 1, 0), 20),
        (struct.pack("<5I", 4, 4, 0x1D000005, 1, 0), 20),
    ],
    ids=["tail outside", "tail odd", "tombstone before tail", "empty", "odd size", "huge", "past tail", "bad id", "unknown id"],
)
def test_nonsense_from_the_device_closes_the_mailbox(firmware: Firmware, data: bytes, tail: int) -> None:
    pending = firmware.channel.send(1, bytes(4))
    firmware.bus.memory[Region.BAR2][I2X.start : I2X.start + len(data)] = data
    firmware.bus.poke32(Region.BAR0, I2X.tail, tail)
    with pytest.raises(DeviceError) as caught:
        pending.wait(PATIENCE)
    assert caught.value.errno == errno.EPIPE
    with pytest.raises(DeviceError) as caught:
        firmware.channel.send(1, bytes(4))
    assert caught.value.errno == errno.EPIPE


def test_at_most_256_messages_in_flight() -> None:
    firmware = Firmware()
    for _ in range(256):
        firmware.channel.send(1, bytes(4))
        firmware.take()
    with pytest.raises(Busy) as caught:
        firmware.channel.send(1, bytes(4))
    assert caught.value.errno == errno.EBUSY


def test_ring_sizes_are_powers_of_two(firmware: Firmware) -> None:
    odd = Ring(0, 4, 0, 100)
    bus = firmware.bus
    with pytest.raises(DeviceError):
        Channel(Registers(bus, Region.BAR0), Registers(bus, Region.BAR2), odd, I2X, firmware.vector)


def test_a_vector_is_masked_unless_someone_waits(firmware: Firmware) -> None:
    looks: list[bool] = []
    unmasked: list[bool] = []

    def masked() -> bool:
        return bool(firmware.bus.read32(Region.BAR1, 12))

    def done() -> bool:
        looks.append(masked())
        return bool(unmasked)

    def interrupt() -> None:
        # Not before somebody waits: an interrupt from before the wait's first look ends no wait.
        unmasked.append(eventually(lambda: not masked()))
        os.eventfd_write(firmware.bus.irqs[0], 1)

    assert masked()
    thread = threading.Thread(target=interrupt)
    thread.start()
    assert firmware.vector.wait(done, None)
    thread.join()
    assert looks[0]
    assert unmasked == [True]
    assert eventually(masked), "nobody waits, and the vector is still unmasked"


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=0, max_size=64), st.integers(0, 300), st.integers(0, 256).map(lambda at: at & ~3))
def test_a_hostile_device_gets_named_errors_and_no_hang(data: bytes, tail: int, head: int) -> None:
    bus = FakeBus()
    bus.poke32(Region.BAR0, I2X.head, head)
    firmware = Firmware(bus)
    pending = firmware.channel.send(1, bytes(4))
    at = I2X.start + head
    firmware.bus.memory[Region.BAR2][at : at + len(data)] = data
    firmware.bus.poke32(Region.BAR0, I2X.tail, tail)
    with suppress(DeviceError):
        pending.wait(0.001)
    firmware.vector.close()
    assert 0 <= firmware.bus.read32(Region.BAR0, I2X.head) <= I2X.size


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 20), st.booleans()), max_size=60))
def test_messages_are_never_lost_or_overwritten(steps: list[tuple[int, bool]]) -> None:
    """Against a model: a queue. The ring refuses what does not fit, and gives everything else back in order."""
    firmware = Firmware()
    model: list[bytes] = []
    for number, (words, take) in enumerate(steps):
        if take and model:
            assert firmware.take()[2] == model.pop(0)
            continue
        payload = bytes([number + 1]) * (4 * words)
        space = sum(len(item) + 16 for item in model) + len(payload) + 16
        try:
            firmware.channel.send(number, payload)
            model.append(payload)
        except (DeviceTimeout, Busy):
            assert space > X2I.size // 2, "half a ring was free"
    for payload in model:
        assert firmware.take()[2] == payload
    firmware.vector.close()
