"""Hosts that write anything anywhere: nothing but BusError comes out, and other functions go on."""

from __future__ import annotations

import struct
from typing import cast

from _host import Mailbox, RecordingEngine, enable, read32, set_num_vfs, start_pf
from _machine import Machine
from hypothesis import given, settings
from hypothesis import strategies as st

from fauxdna import _core
from fauxdna.abi import bars
from fauxdna.abi.messages import PROTOCOL_5_10
from fauxdna.bus import BusError, Region
from fauxdna.bus.local import LocalBus
from fauxdna.device import Die

WORDS = st.one_of(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 1, 2, 3, 4, 0xFFFFFFFF, 0xDEADFACE, 0xD007BE11, 0x80000000, 0x10000, 4 | 1 << 16, 0x1D000000]),
)
REGISTERS = st.sampled_from(
    [
        (Region.BAR0, bars.X2I_TAIL),
        (Region.BAR0, bars.X2I_HEAD),
        (Region.BAR0, bars.I2X_TAIL),
        (Region.BAR0, bars.I2X_HEAD),
        (Region.BAR1, 0x0C),
        (Region.BAR1, 0x800),
        (Region.BAR4, bars.PSP_COMMAND),
        (Region.BAR4, bars.PSP_ARGUMENT0),
        (Region.BAR4, bars.PSP_ARGUMENT1),
        (Region.BAR4, bars.PSP_INTERRUPT),
        (Region.BAR5, bars.SMU_COMMAND),
        (Region.BAR5, bars.SMU_ARGUMENT),
        (Region.BAR5, bars.SMU_INTERRUPT),
        (Region.CONFIG, 0x04),
        (Region.CONFIG, 0x48),
        (Region.CONFIG, 0x80),
        (Region.CONFIG, 0x148),
        (Region.CONFIG, 0x150),
        (Region.CONFIG, 0x160),
    ]
)
ANYWHERE = st.tuples(st.sampled_from(list(Region)), st.integers(-8, (1 << 20) + 8))
WRITES = st.lists(st.tuples(st.one_of(REGISTERS, ANYWHERE), WORDS), max_size=40)
OPCODES = st.one_of(st.sampled_from(sorted(PROTOCOL_5_10.messages)), WORDS)
HEADERS = st.tuples(
    st.one_of(st.integers(0, 64).map(lambda words: 4 * words), WORDS),
    st.one_of(st.integers(0, 64).map(lambda words: 4 * words | 1 << 16), WORDS),
    st.one_of(st.integers(0, 255).map(lambda index: 0x1D000000 | index), WORDS),
    OPCODES,
)


def fresh() -> tuple[Machine, LocalBus, LocalBus, LocalBus]:
    engine = RecordingEngine()
    machine = Machine(Die(engine=cast("_core.Engine", engine)), engine)
    pf, _, vf = machine.started_vf(2)
    other = machine.open("0000:05:00.2")
    for bus in (vf, other):
        enable(bus)
    return machine, pf, vf, other


def bang(bus: LocalBus, writes: list[tuple[tuple[Region, int], int]]) -> None:
    for (region, offset), value in writes:
        try:
            bus.region_write(region, offset, struct.pack("<I", value))
            bus.region_read(region, offset, 4)
        except BusError:
            pass


@settings(max_examples=150, deadline=None)
@given(WRITES)
def test_register_writes_of_a_vf(writes: list[tuple[tuple[Region, int], int]]) -> None:
    machine, pf, vf, other = fresh()
    bang(vf, writes)
    neighbour = Mailbox(other)
    assert neighbour.call("AIE_TILE_INFO").status == 0
    partition = neighbour.call("CREATE_PARTITION", column_count=3).partition_id
    assert neighbour.call("CREATE_HW_CONTEXT", partition_id=partition, request_num_tiles=4).status == 0
    vf.reset()
    enable(vf)
    assert Mailbox(vf).call("AIE_TILE_INFO").status == 0
    assert read32(pf, Region.BAR2, 0) == 1
    machine.die.close()
    assert machine.engine.contexts == {}


@settings(max_examples=150, deadline=None)
@given(WRITES)
def test_register_writes_of_a_pf(writes: list[tuple[tuple[Region, int], int]]) -> None:
    machine, pf, _, _ = fresh()
    bang(pf, writes)
    pf.close()
    pf = machine.pf()
    channel = start_pf(pf, machine.images)
    assert channel.call("CREATE_VFS", vf_count=1).status == 0
    set_num_vfs(pf, 1)
    assert Mailbox(machine.open("0000:05:00.1")).call("AIE_TILE_INFO").status == 0
    machine.die.close()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(HEADERS, st.lists(WORDS, max_size=12), st.integers(-8, 8)), min_size=1, max_size=12))
def test_ring_contents(messages: list[tuple[tuple[int, int, int, int], list[int], int]]) -> None:
    """Random frames at the place where firmware reads, with a tail that is right, or off by a little."""
    machine, pf, vf, other = fresh()
    for header, payload, error in messages:
        head = read32(vf, Region.BAR0, bars.X2I_HEAD)
        package = struct.pack("<4I", *header) + struct.pack(f"<{len(payload)}I", *payload)
        try:
            vf.region_write(Region.BAR2, bars.X2I_RING + head, package)
            vf.region_write(Region.BAR0, bars.X2I_TAIL, struct.pack("<I", head + len(package) + error & 0xFFFFFFFF))
        except BusError:
            pass
    assert Mailbox(other).call("AIE_TILE_INFO").status == 0
    assert read32(pf, Region.BAR2, 0) == 1
    machine.die.close()
    assert machine.engine.contexts == {}


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(PROTOCOL_5_10.messages)), st.lists(WORDS, max_size=8), st.booleans())
def test_message_fields(opcode: int, words: list[int], to_pf: bool) -> None:
    """Well-framed messages with any payload are answered, with the size of their response."""
    machine, pf, vf, _ = fresh()
    bus = pf if to_pf else vf
    bus.region_write(Region.BAR0, bars.I2X_HEAD, bus.region_read(Region.BAR0, bars.I2X_TAIL, 4))
    channel = Mailbox(bus)
    message = PROTOCOL_5_10.messages[opcode]
    payload = struct.pack(f"<{len(words)}I", *words)[: message.request.size].ljust(message.request.size, b"\0")
    channel.post(opcode, payload)
    reply = channel.receive()
    assert reply is not None
    assert len(reply.payload) == message.response.size
    machine.die.close()
