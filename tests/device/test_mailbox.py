"""The mailbox rings: wrap, tombstones, back-pressure, and hosts that break the rules."""

from __future__ import annotations

import os
import struct

import pytest
from _host import Mailbox, read32, start_pf, stop_pf, write32
from _machine import Machine

from fauxdna.abi import bars
from fauxdna.abi.messages import PROTOCOL_5_10
from fauxdna.bus import Region
from fauxdna.bus.local import LocalBus

RING = bars.RING_SIZE
MAGIC = 0x1D000000


def vf(machine: Machine) -> tuple[LocalBus, Mailbox]:
    _, _, bus = machine.started_vf()
    return bus, Mailbox(bus)


def test_rings_wrap_at_every_offset(machine: Machine) -> None:
    """Messages of two sizes move the wrap point through all its places; both sides leave tombstones."""
    _, channel = vf(machine)
    rounds = 0
    while channel.tombstones_sent < 12 or channel.tombstones_seen < 12:
        assert channel.call("AIE_TILE_INFO").status == 0
        assert channel.call("CREATE_PARTITION", column_start=0, column_count=99).status == 1
        assert channel.call("DESTROY_PARTITION", partition_id=5).status == 1
        rounds += 1
        assert rounds < 2000


def test_back_pressure(machine: Machine) -> None:
    """A host that takes no answers is not overwritten: messages wait in x2i until it does, and none is lost or reordered."""
    bus, channel = vf(machine)
    message = PROTOCOL_5_10["AIE_TILE_INFO"]
    sent = []
    # A 4096-byte ring holds 63 answers of 64 bytes and a tombstone's word; x2i holds 204 requests of 20 bytes.
    for _ in range(150):
        sent.append(channel.post(message.opcode, message.request.pack()))
    assert read32(bus, Region.BAR0, channel.info.i2x_tail_offset) == 63 * 64
    waiting = channel.tail - read32(bus, Region.BAR0, channel.info.x2i_head_offset)
    assert waiting == (150 - 64) * 20  # 63 answered in the ring, one answer held back
    received = []
    while (reply := channel.receive()) is not None:
        received.append(reply.header[2])
        assert len(reply.payload) == 48
    assert received == sent
    assert machine.errors() == ""


def test_ids_and_opcodes_come_back(machine: Machine) -> None:
    _, channel = vf(machine)
    channel.post(0x30006, bytes(4), identifier=MAGIC | 0xABCDEF)
    reply = channel.receive()
    assert reply is not None
    assert reply.header == (48, 48 | 1 << 16, MAGIC | 0xABCDEF, 0x30006)


def test_several_messages_with_one_tail_write(machine: Machine) -> None:
    bus, channel = vf(machine)
    package = b"".join(struct.pack("<5I", 4, 4 | 1 << 16, MAGIC | index, 0x30006, 0) for index in range(5))
    bus.region_write(Region.BAR2, channel.info.x2i_buffer_addr, package)
    write32(bus, Region.BAR0, channel.info.x2i_tail_offset, len(package))
    replies = [channel.receive() for _ in range(6)]
    assert [reply.header[2] & 0xFF for reply in replies if reply is not None] == [0, 1, 2, 3, 4]
    assert replies[5] is None


@pytest.mark.parametrize(
    ("size_version", "identifier"),
    [(4, MAGIC), (4 | 2 << 16, MAGIC), (8 | 1 << 16, MAGIC), (4 | 1 << 16, 0x1E000000), (4 | 1 << 16, 0)],
    ids=["version 0", "version 2", "split", "other magic", "no magic"],
)
def test_wrong_headers_are_answered_with_an_error(machine: Machine, size_version: int, identifier: int) -> None:
    _, channel = vf(machine)
    channel.post(0x30006, bytes(4), size_version=size_version, identifier=identifier)
    reply = channel.receive()
    assert reply is not None
    assert reply.payload == struct.pack("<I", 1)
    assert channel.call("AIE_TILE_INFO").status == 0


def raw(bus: LocalBus, channel: Mailbox, words: tuple[int, ...], tail: int) -> None:
    bus.region_write(Region.BAR2, channel.info.x2i_buffer_addr, struct.pack(f"<{len(words)}I", *words))
    write32(bus, Region.BAR0, channel.info.x2i_tail_offset, tail)


@pytest.mark.parametrize(
    ("words", "tail"),
    [
        ((4, 4 | 1 << 16, MAGIC, 0x30006, 0), 16),
        ((0xFFFFFFFC, 4 | 1 << 16, MAGIC, 0x30006, 0), 20),
        ((0x7FFFFFF0, 4 | 1 << 16, MAGIC, 0x30006, 0), 20),
        ((5, 5 | 1 << 16, MAGIC, 0x30006, 0, 0), 24),
        ((0xDEADFACE,), 20),
        ((4, 4 | 1 << 16, MAGIC, 0x30006, 0), 21),
        ((4, 4 | 1 << 16, MAGIC, 0x30006, 0), RING + 4),
        ((4, 4 | 1 << 16, MAGIC, 0x30006, 0), 0xFFFFFFFC),
        ((4, 4 | 1 << 16, MAGIC, 0x30006, 0), 4),
    ],
    ids=["past tail", "huge", "huge 2", "odd size", "tombstone before tail", "odd tail", "tail past ring", "tail -4", "short"],
)
def test_frames_that_make_no_sense_stop_only_this_mailbox(machine: Machine, words: tuple[int, ...], tail: int) -> None:
    pf, pf_channel, bus = machine.started_vf(2)
    other = Mailbox(machine.open("0000:05:00.2"))
    channel = Mailbox(bus)
    raw(bus, channel, words, tail)
    assert "mailbox stopped" in machine.errors()
    assert channel.receive() is None
    raw(bus, channel, (4, 4 | 1 << 16, MAGIC, 0x30006, 0), 20)
    assert channel.receive() is None
    assert other.call("AIE_TILE_INFO").status == 0
    bus.reset()
    assert Mailbox(bus).call("AIE_TILE_INFO").status == 0
    stop_pf(pf, pf_channel)


def test_a_broken_i2x_head_stops_the_mailbox(machine: Machine) -> None:
    for head in (2, RING + 4, 0xFFFFFFFF):
        pf, _, bus = machine.started_vf()
        channel = Mailbox(bus)
        write32(bus, Region.BAR0, channel.info.i2x_head_offset, head)
        channel.post(0x30006, bytes(4))
        assert read32(bus, Region.BAR0, channel.info.i2x_tail_offset) == 0
        assert f"i2x head {head:#x}" in machine.errors()
        pf.close()


def test_a_fresh_start_heals_a_stopped_pf_mailbox(machine: Machine) -> None:
    bus, channel = machine.started_pf()
    write32(bus, Region.BAR0, channel.info.x2i_tail_offset, 2)
    channel.post(0x30006, bytes(4))
    assert channel.receive() is None
    bus.dma_unmap(0, 1 << 40)
    channel = start_pf(bus, machine.images)
    stop_pf(bus, channel)


def test_device_registers_are_read_only(machine: Machine) -> None:
    """A host cannot move x2i head or i2x tail, nor invent registers."""
    bus, channel = vf(machine)
    for offset in (channel.info.x2i_head_offset, channel.info.i2x_tail_offset, 0, 0x800):
        write32(bus, Region.BAR0, offset, 0x40)
        assert read32(bus, Region.BAR0, offset) == 0


def test_a_host_that_rewrites_mailbox_info_fools_only_itself(machine: Machine) -> None:
    bus, channel = vf(machine)
    bus.region_write(Region.BAR2, 0, os.urandom(64))
    assert channel.call("AIE_TILE_INFO").status == 0


def test_no_firmware_no_answers(machine: Machine) -> None:
    bus = machine.pf()
    assert read32(bus, Region.BAR2, 0) == 0
    write32(bus, Region.BAR0, bars.X2I_TAIL, 20)
    assert read32(bus, Region.BAR0, bars.X2I_HEAD) == 0
    assert read32(bus, Region.BAR0, bars.I2X_TAIL) == 0
