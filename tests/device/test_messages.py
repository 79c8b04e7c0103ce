"""Each management message: who may send it, in which state, and what it refuses."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable

import pytest
from _host import WORK_ADDRESS, HostMemory, Mailbox, enable, psp_exec, read32, start_firmware
from _machine import Machine

from fauxdna.abi import bars
from fauxdna.abi.messages import PROTOCOL_5_10
from fauxdna.bus import Region

SUCCESS, ERROR, NOTSUPP = 0, 1, 2
PF_MESSAGES = ("SUSPEND", "ATTACH_WORK_BUFFER", "CREATE_VFS", "DESTROY_VFS")
VF_MESSAGES = ("AIE_TILE_INFO", "CREATE_PARTITION", "DESTROY_PARTITION", "CREATE_HW_CONTEXT", "DESTROY_HW_CONTEXT")
GOOD = {
    "SUSPEND": {},
    "ATTACH_WORK_BUFFER": {"buffer_address": WORK_ADDRESS, "buffer_size": 4 << 20},
    "CREATE_VFS": {"vf_count": 1},
    "DESTROY_VFS": {},
    "AIE_TILE_INFO": {},
    "CREATE_PARTITION": {"column_start": 0, "column_count": 3},
    "DESTROY_PARTITION": {"partition_id": 1},
    "CREATE_HW_CONTEXT": {"partition_id": 1, "request_num_tiles": 4},
    "DESTROY_HW_CONTEXT": {"hw_context_id": 1},
}


def booted(machine: Machine) -> Mailbox:
    bus = machine.pf()
    enable(bus)
    start_firmware(bus, machine.images)
    HostMemory(bus, WORK_ADDRESS, 4 << 20)
    return Mailbox(bus)


def ready(machine: Machine) -> Mailbox:
    channel = booted(machine)
    assert channel.call("ATTACH_WORK_BUFFER", **GOOD["ATTACH_WORK_BUFFER"]).status == SUCCESS
    return channel


def virtual(machine: Machine) -> Mailbox:
    channel = ready(machine)
    assert channel.call("CREATE_VFS", vf_count=1).status == SUCCESS
    return channel


def suspended(machine: Machine) -> Mailbox:
    channel = ready(machine)
    assert channel.call("SUSPEND").status == SUCCESS
    return channel


@pytest.mark.parametrize("name", PF_MESSAGES)
@pytest.mark.parametrize(
    ("enter", "legal"),
    [
        (booted, {"SUSPEND", "ATTACH_WORK_BUFFER"}),
        (ready, {"SUSPEND", "ATTACH_WORK_BUFFER", "CREATE_VFS"}),
        (virtual, {"SUSPEND", "DESTROY_VFS"}),
        (suspended, set()),
    ],
    ids=["booted", "ready", "virtual", "suspended"],
)
def test_pf_messages_by_state(machine: Machine, enter: Callable[[Machine], Mailbox], legal: set[str], name: str) -> None:
    status = enter(machine).call(name, **GOOD[name]).status
    assert status == (SUCCESS if name in legal else ERROR)
    assert (name in machine.errors()) == (name not in legal)


def idle(machine: Machine) -> Mailbox:
    _, _, bus = machine.started_vf()
    enable(bus)
    return Mailbox(bus)


def partitioned(machine: Machine) -> Mailbox:
    channel = idle(machine)
    assert channel.call("CREATE_PARTITION", **GOOD["CREATE_PARTITION"]).partition_id == 1
    return channel


def active(machine: Machine) -> Mailbox:
    channel = partitioned(machine)
    assert channel.call("CREATE_HW_CONTEXT", **GOOD["CREATE_HW_CONTEXT"]).status == SUCCESS
    return channel


@pytest.mark.parametrize("name", VF_MESSAGES)
@pytest.mark.parametrize(
    ("enter", "legal"),
    [
        (idle, {"AIE_TILE_INFO", "CREATE_PARTITION"}),
        (partitioned, {"AIE_TILE_INFO", "DESTROY_PARTITION", "CREATE_HW_CONTEXT"}),
        (active, {"AIE_TILE_INFO", "DESTROY_PARTITION", "CREATE_HW_CONTEXT", "DESTROY_HW_CONTEXT"}),
    ],
    ids=["idle", "partitioned", "active"],
)
def test_vf_messages_by_state(machine: Machine, enter: Callable[[Machine], Mailbox], legal: set[str], name: str) -> None:
    assert enter(machine).call(name, **GOOD[name]).status == (SUCCESS if name in legal else ERROR)


def test_the_log_names_the_legal_states(machine: Machine) -> None:
    idle(machine).call("DESTROY_PARTITION", partition_id=1)
    assert "not legal in state VF_IDLE, only in VF_PARTITIONED or VF_ACTIVE" in machine.errors()


@pytest.mark.parametrize("opcode", [0, 1, 0x10001, 0x10002, 0x30005, 0x30007, 0xFFFFFFFF])
def test_unknown_opcodes_answer_notsupp(machine: Machine, opcode: int) -> None:
    """IDENTIFY, ECHO and others exist in AMD's newer protocol, not in 5.10."""
    channel = idle(machine)
    channel.post(opcode, bytes(8))
    reply = channel.receive()
    assert reply is not None
    assert reply.header[3] == opcode
    assert reply.payload == struct.pack("<I", NOTSUPP)


@pytest.mark.parametrize("name", VF_MESSAGES)
@pytest.mark.parametrize("excess", [-4, 4, 64])
def test_requests_of_the_wrong_size(machine: Machine, name: str, excess: int) -> None:
    """The answer still has the exact size of the message's response, as Linux checks."""
    channel = active(machine) if name != "CREATE_PARTITION" else idle(machine)
    message = PROTOCOL_5_10[name]
    payload = bytes(message.request.size + excess)
    channel.post(message.opcode, payload)
    reply = channel.receive()
    assert reply is not None
    assert len(reply.payload) == message.response.size
    assert message.response.unpack(reply.payload).status == ERROR


@pytest.mark.parametrize(
    "fields",
    [
        {"buffer_address": WORK_ADDRESS, "buffer_size": (4 << 20) - 1},
        {"buffer_address": WORK_ADDRESS, "buffer_size": 0},
        {"buffer_address": WORK_ADDRESS, "buffer_size": 5 << 20},
        {"buffer_address": WORK_ADDRESS + 4096, "buffer_size": 4 << 20},
        {"buffer_address": 0, "buffer_size": 4 << 20},
        {"buffer_address": 0xFFFF_FFFF_FFFF_F000, "buffer_size": 4 << 20},
    ],
    ids=["small", "none", "longer than mapped", "beside", "unmapped", "wraps"],
)
def test_work_buffers_that_are_refused(machine: Machine, fields: dict[str, int]) -> None:
    channel = booted(machine)
    assert channel.call("ATTACH_WORK_BUFFER", **fields).status == ERROR
    assert channel.call("CREATE_VFS", vf_count=1).status == ERROR


@pytest.mark.parametrize("count", [0, 65, 0xFFFFFFFF])
def test_vf_counts_that_are_refused(machine: Machine, count: int) -> None:
    channel = ready(machine)
    assert channel.call("CREATE_VFS", vf_count=count).status == ERROR
    assert channel.call("CREATE_VFS", vf_count=64).status == SUCCESS


@pytest.mark.parametrize(
    ("start", "count", "status"),
    [(0, 3, 0), (2, 1, 0), (1, 2, 0), (0, 4, 1), (3, 1, 1), (1, 3, 1), (0, 0, 1), (0xFFFFFFFF, 1, 1), (1, 0xFFFFFFFF, 1)],
)
def test_partition_columns(machine: Machine, start: int, count: int, status: int) -> None:
    """The array has three columns (``AIE4_TOTAL_COLUMN``)."""
    answer = idle(machine).call("CREATE_PARTITION", column_start=start, column_count=count)
    assert answer.status == status
    assert bool(answer.partition_id) == (status == 0)


@pytest.mark.parametrize(
    ("tiles", "columns"), [(1, 1), (3, 1), (4, 1), (5, 2), (8, 2), (12, 3), (0, 0), (13, 0), (0xFFFFFFFF, 0)]
)
def test_columns_of_a_context(machine: Machine, tiles: int, columns: int) -> None:
    """Four compute tiles are a column; 1 to 3 are part of one (amd/xdna-driver ``aie4_msg_priv.h``)."""
    answer = partitioned(machine).call("CREATE_HW_CONTEXT", partition_id=1, request_num_tiles=tiles)
    assert answer.status == (SUCCESS if columns else ERROR)
    assert [context["columns"] for context in machine.engine.contexts.values()] == ([columns] if columns else [])


def test_contexts_spread_over_columns(machine: Machine) -> None:
    channel = partitioned(machine)
    for _ in range(6):
        assert channel.call("CREATE_HW_CONTEXT", partition_id=1, request_num_tiles=4).status == SUCCESS
    assert [context["column"] for context in machine.engine.contexts.values()] == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("sent", "band"), [(0, 0), (1, 1), (2, 2), (3, 3), (4, 1), (0x100, 3), (0x180, 2), (0x200, 1), (0x280, 0), (0xFFFFFFFF, 1)]
)
def test_priorities(machine: Machine, sent: int, band: int) -> None:
    """Linux 7.2 sends the user's QoS value as it is."""
    partitioned(machine).call("CREATE_HW_CONTEXT", partition_id=1, request_num_tiles=4, priority_band=sent)
    (context,) = machine.engine.contexts.values()
    assert context["priority"] == band


def test_doorbells_and_vectors(machine: Machine) -> None:
    """Each context has a page of its own; no context has the mailbox's vector; a freed page is used again."""
    channel = partitioned(machine)
    answers = [channel.call("CREATE_HW_CONTEXT", partition_id=1, request_num_tiles=4) for _ in range(8)]
    assert [answer.doorbell_offset for answer in answers] == [0x10000 + 0x1000 * index for index in range(8)]
    assert [answer.job_complete_msix_idx for answer in answers] == [1, 2, 3, 4, 5, 6, 7, 1]
    assert len({answer.hw_context_id for answer in answers}) == 8
    assert channel.call("DESTROY_HW_CONTEXT", hw_context_id=answers[2].hw_context_id).status == SUCCESS
    assert channel.call("CREATE_HW_CONTEXT", partition_id=1, request_num_tiles=4).doorbell_offset == 0x12000


def test_every_context_is_its_own_owner(machine: Machine) -> None:
    """A VF serves several processes: tiles are scrubbed between any two of its contexts."""
    channel = partitioned(machine)
    for _ in range(3):
        channel.call("CREATE_HW_CONTEXT", partition_id=1, request_num_tiles=4)
    assert len({context["owner"] for context in machine.engine.contexts.values()}) == 3


def test_the_context_limit(machine: Machine) -> None:
    """240 doorbell pages lie between 0x10000 and the end of 1 MiB."""
    channel = partitioned(machine)
    for _ in range(240):
        assert channel.call("CREATE_HW_CONTEXT", partition_id=1, request_num_tiles=4).status == SUCCESS
    assert channel.call("CREATE_HW_CONTEXT", partition_id=1, request_num_tiles=4).status == ERROR
    assert "240 contexts, which is its limit" in machine.errors()
    assert channel.call("DESTROY_PARTITION", partition_id=1).status == SUCCESS
    assert machine.engine.contexts == {}


def test_ids_of_others_are_refused(machine: Machine) -> None:
    _, _, first = machine.started_vf(2)
    second = machine.open("0000:05:00.2")
    channels = []
    for bus in (first, second):
        enable(bus)
        channels.append(Mailbox(bus))
    ids = [channel.call("CREATE_PARTITION", column_count=3).partition_id for channel in channels]
    assert len(set(ids)) == 2
    assert channels[0].call("CREATE_HW_CONTEXT", partition_id=ids[1], request_num_tiles=4).status == ERROR
    assert channels[0].call("DESTROY_PARTITION", partition_id=ids[1]).status == ERROR
    assert channels[0].call("DESTROY_PARTITION", partition_id=0).status == ERROR
    context = channels[0].call("CREATE_HW_CONTEXT", partition_id=ids[0], request_num_tiles=4)
    assert channels[1].call("DESTROY_HW_CONTEXT", hw_context_id=context.hw_context_id).status == ERROR
    assert len(machine.engine.contexts) == 1


def test_what_the_engine_refuses_is_an_error(machine: Machine) -> None:
    channel = partitioned(machine)
    machine.engine.refuse = OSError(errno.EINVAL, "queue address 0x0 is not mapped")
    assert channel.call("CREATE_HW_CONTEXT", partition_id=1, request_num_tiles=4).status == ERROR
    assert "queue address 0x0 is not mapped" in machine.errors()
    machine.engine.refuse = None
    assert channel.call("CREATE_HW_CONTEXT", partition_id=1, request_num_tiles=4).doorbell_offset == 0x10000


def test_the_log_tells_why_a_context_failed(machine: Machine) -> None:
    channel = active(machine)
    machine.engine.failed[1] = ("page at 0x1000: opcode 0xff is not known", 2)
    assert channel.call("DESTROY_HW_CONTEXT", hw_context_id=1).status == SUCCESS
    assert "context 1 met 2 errors, the last: page at 0x1000: opcode 0xff is not known" in machine.errors()


def test_contexts_need_bus_mastering(machine: Machine) -> None:
    _, _, bus = machine.started_vf()
    channel = Mailbox(bus)
    partition = channel.call("CREATE_PARTITION", column_count=3).partition_id
    assert channel.call("CREATE_HW_CONTEXT", partition_id=partition, request_num_tiles=4).status == ERROR
    assert "COMMAND bit 2" in machine.errors()


def test_contexts_end_when_bus_mastering_does(machine: Machine) -> None:
    """Clearing COMMAND bit 2 is how a host makes sure that a function touches its memory no more."""
    _, _, bus = machine.started_vf()
    enable(bus)
    channel = Mailbox(bus)
    partition = channel.call("CREATE_PARTITION", column_count=3).partition_id
    channel.call("CREATE_HW_CONTEXT", partition_id=partition, request_num_tiles=4)
    bus.region_write(Region.CONFIG, 4, b"\x02\x00")
    assert machine.engine.contexts == {}
    assert "1 contexts end" in machine.errors()
    enable(bus)
    assert channel.call("CREATE_HW_CONTEXT", partition_id=partition, request_num_tiles=4).status == SUCCESS


def test_destroyed_doorbell_pages_are_cleared(machine: Machine) -> None:
    _, _, bus = machine.started_vf()
    enable(bus)
    channel = Mailbox(bus)
    partition = channel.call("CREATE_PARTITION", column_count=3).partition_id
    context = channel.call("CREATE_HW_CONTEXT", partition_id=partition, request_num_tiles=4)
    bus.region_write(Region.BAR2, context.doorbell_offset, b"\x01" * 4096)
    assert channel.call("DESTROY_HW_CONTEXT", hw_context_id=context.hw_context_id).status == SUCCESS
    assert bus.region_read(Region.BAR2, context.doorbell_offset, 4096) == bytes(4096)


def test_a_trapped_doorbell_kicks_the_engine(machine: Machine) -> None:
    _, _, bus = machine.started_vf()
    bus.region_write(Region.BAR2, 0x8000, bytes(4))
    assert machine.engine.kicks == 0
    bus.region_write(Region.BAR2, bars.DOORBELLS, bytes(4))
    assert machine.engine.kicks == 1


def test_suspend_ends_work_and_a_fresh_start_serves_again(machine: Machine) -> None:
    pf, pf_channel, vf = machine.started_vf()
    enable(vf)
    channel = Mailbox(vf)
    partition = channel.call("CREATE_PARTITION", column_count=3).partition_id
    channel.call("CREATE_HW_CONTEXT", partition_id=partition, request_num_tiles=12)
    assert pf_channel.call("SUSPEND").status == SUCCESS
    assert machine.engine.contexts == {}
    assert read32(vf, Region.BAR2, 0) == 0
    assert psp_exec(pf, 3) == 0
    start_firmware(pf, machine.images)
    pf_channel = Mailbox(pf)
    assert pf_channel.call("ATTACH_WORK_BUFFER", **GOOD["ATTACH_WORK_BUFFER"]).status == SUCCESS
    assert pf_channel.call("CREATE_VFS", vf_count=1).status == SUCCESS
    assert Mailbox(vf).call("CREATE_PARTITION", column_count=3).status == SUCCESS
