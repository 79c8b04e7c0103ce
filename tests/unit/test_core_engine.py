"""Packets through real queue memory and a real engine: what completes, what is refused, and what survives."""

from __future__ import annotations

import errno
import os
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from _patience import PATIENCE_US
from core_harness import BASE, CODE, EMPTY, PAGE, SIZE, Client, Function, die

from fauxdna._core import Engine, HostQueue
from fauxdna.abi import host_queue
from fauxdna.abi.host_queue import CompletionState

COMPLETED = int(CompletionState.COMPLETED)
INVALID_PACKET = 4 << 4 | 5


@pytest.fixture
def pair() -> Iterator[tuple[Engine, Function]]:
    with die() as both:
        yield both


class Raw:
    """A client that writes its own packets, right or wrong."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.memory = client.function.memory
        self.written = 0

    def send(self, packet: bytes, *, ring: bool = True) -> int:
        """Writes a packet into the next slot and rings."""
        slot = self.written % 32
        os.pwrite(self.memory, packet.ljust(64, b"\0"), 128 + slot * 64)
        self.written += 1
        self.index(self.written, ring=ring)
        return self.written - 1

    def index(self, value: int, *, ring: bool = True) -> None:
        """Writes write_index, and rings."""
        os.pwrite(self.memory, struct.pack("<Q", value), host_queue.HEADER_PADDED.offsets["write_index"])
        if ring:
            self.client.queue.ring()

    def word(self, at: int = 0x8000) -> int:
        """A word of memory."""
        return int(struct.unpack("<I", os.pread(self.memory, 4, at))[0])

    def answer(self, packet: bytes, at: int = 0x8000) -> int:
        """Sends a packet whose completion word is at ``at`` and gives that word."""
        os.pwrite(self.memory, bytes(4), at)
        self.send(packet)
        self.client.until("read_index", self.written)
        return self.word(at)


def packet(data: bytes, **fields: int) -> bytes:
    """A packet with its completion word at 0x8000."""
    values = {"opcode": 1, "count": len(data), "completion_signal": BASE + 0x8000, **fields}
    return host_queue.PACKET.pack(**values)[:16] + data


def submissions(client: Client) -> str:
    """Submits until an error, and gives what it says was wrong."""
    for _ in range(3):
        try:
            client.queue.submit([(0, BASE + CODE)])
        except OSError as error:
            return "shrunk" if "shrunk" in str(error) else str(error)
    return "nothing"


def exec_buf(code: int = BASE + CODE) -> bytes:
    return host_queue.EXEC_BUF.pack(code_low=code & 0xFFFFFFFF, code_high=code >> 32)


@pytest.mark.parametrize("layout", ["padded", "unpadded"])
def test_null_command_in_both_layouts(pair: tuple[Engine, Function], layout: str) -> None:
    client = Client(*pair, layout=layout)
    for count in range(1, 100):
        assert client.run() == COMPLETED
        client.until("read_index", count)
    header = client.function.header(layout)
    assert (header["read_index"], header["write_index"]) == (99, 99)
    assert client.state["completed"] == 99
    assert client.state["errors"] == 0


def test_padded_header_shows_write_index_where_linux_looks(pair: tuple[Engine, Function]) -> None:
    client = Client(*pair)
    client.run()
    client.until("read_index", 1)
    assert struct.unpack("<Q", os.pread(client.function.memory, 8, host_queue.MIRROR_WRITE_INDEX)) == (1,)


def test_without_the_bridge_a_padded_header_is_left_as_it_was() -> None:
    with die(mirror=False) as pair:
        client = Client(*pair)
        client.run()
        client.until("read_index", 1)
        assert os.pread(client.function.memory, 8, host_queue.MIRROR_WRITE_INDEX) == bytes(8)


def test_interrupt_comes_after_read_index(pair: tuple[Engine, Function]) -> None:
    client = Client(*pair)
    os.set_blocking(client.function.vector, True)
    for count in range(1, 200):
        client.queue.submit([(0, BASE + CODE)])
        os.eventfd_read(client.function.vector)
        assert client.function.header()["read_index"] == count


def test_indirect_to_three_micro_controllers(pair: tuple[Engine, Function]) -> None:
    client = Client(*pair)
    codes = [(uc, client.function.code(uc, EMPTY)) for uc in (0, 2, 4)]
    assert client.run(*codes) == COMPLETED
    payload = host_queue.INDIRECT_PAYLOAD.unpack(os.pread(client.function.memory, 32, 128 + 32 * 64 + (2 * 32 + 0) * 32))
    assert payload.code_low | payload.code_high << 32 == codes[1][1]


def test_full_queue_says_so(pair: tuple[Engine, Function]) -> None:
    engine, function = pair
    queue = HostQueue(function.memory, 0, BASE, CODE, function.doorbells, 0)
    for _ in range(32):
        queue.submit([(0, BASE + CODE)])
    with pytest.raises(BlockingIOError, match="full: 32 packets") as caught:
        queue.submit([(0, BASE + CODE)])
    assert caught.value.errno == errno.EAGAIN
    # Packets that waited before the context existed are found without a ring.
    engine.create_context(
        function.space,
        queue_address=BASE,
        column=0,
        columns=1,
        doorbell_fd=function.doorbells,
        doorbell_offset=0,
        interrupts=function.interrupts,
        vector=1,
    )
    assert queue.spin(31, PATIENCE_US) == COMPLETED
    assert [queue.completion(sequence) for sequence in range(32)] == [COMPLETED] * 32


def test_completions_are_remembered_when_slots_are_used_again(pair: tuple[Engine, Function]) -> None:
    client = Client(*pair)
    for _ in range(100):
        client.run()
        client.until("state", "idle")
    assert {client.queue.completion(sequence) for sequence in range(100)} == {COMPLETED}
    with pytest.raises(OSError, match="packet 100 is not known"):
        client.queue.completion(100)


def test_test_and_exit_packets(pair: tuple[Engine, Function]) -> None:
    client = Client(*pair)
    assert client.wait(client.queue.submit_opcode(host_queue.PacketOpcode.TEST)) == COMPLETED
    assert client.wait(client.queue.submit_opcode(host_queue.PacketOpcode.EXIT)) == 5
    assert client.state["state"] == "exited"
    assert client.run() == CompletionState.ABORT


def test_chain_stops_at_the_first_failure(pair: tuple[Engine, Function]) -> None:
    client = Client(*pair)
    codes = [BASE + CODE, 0xDEAD0000, BASE + CODE, BASE + CODE]
    sequences = [client.queue.submit([(0, code)], chain=index < 3) for index, code in enumerate(codes)]
    words = [client.wait(sequence) for sequence in sequences]
    assert words[0] == COMPLETED
    assert words[1] & 15 == CompletionState.ERROR
    assert words[2:] == [CompletionState.ABORT] * 2
    assert client.run() == COMPLETED


def test_unmapped_code_is_an_invalid_page(pair: tuple[Engine, Function]) -> None:
    client = Client(*pair)
    # uC 2: error 2 * 100 + 5.
    assert client.run((2, 0xDEAD0000)) == (205 << 4 | 5)
    assert "0xdead0000" in str(client.state["message"])
    assert client.run() == COMPLETED


@pytest.mark.parametrize(
    "bad",
    [
        packet(exec_buf(), type=1),
        packet(exec_buf(), opcode=0),
        packet(exec_buf(), opcode=200),
        packet(exec_buf(), count=23),
        packet(exec_buf(), count=0xFFFF),
        packet(exec_buf(), chain=2),
        packet(exec_buf(), indirect=2),
        packet(bytes(8), indirect=1, count=0),
        packet(bytes(48), indirect=1, count=56),
        packet(bytes(8), indirect=1, count=7),
        packet(host_queue.INDIRECT_ENTRY.pack(address_low=0x9000, address_high=BASE >> 32, uc=6), indirect=1),
        packet(host_queue.INDIRECT_ENTRY.pack(address_low=0x9000, address_high=BASE >> 32, uc=0), indirect=1),
        packet(host_queue.INDIRECT_ENTRY.pack(address_low=0xFFFFFFFF, address_high=0x1FFFFFF, uc=0), indirect=1),
        packet(host_queue.INDIRECT_ENTRY.pack(address_low=CODE, address_high=BASE >> 32, uc=0) * 2, indirect=1),
    ],
)
def test_bad_packets_are_answered_and_the_next_one_works(pair: tuple[Engine, Function], bad: bytes) -> None:
    client = Client(*pair)
    raw = Raw(client)
    assert raw.answer(bad) == INVALID_PACKET
    assert client.state["message"]
    assert raw.answer(packet(exec_buf())) == COMPLETED


@pytest.mark.parametrize("address", [2**64 - 1, 2**64 - 4, 0x10, BASE + SIZE, BASE + 0x8001])
def test_bad_completion_address_is_an_error_of_its_packet(pair: tuple[Engine, Function], address: int) -> None:
    client = Client(*pair)
    raw = Raw(client)
    raw.answer(packet(exec_buf(), completion_signal=address))
    assert "completion" in str(client.state["message"])
    assert raw.answer(packet(exec_buf())) == COMPLETED


@pytest.mark.parametrize("index", [33, 2**32, 2**63, 2**64 - 1])
def test_bad_write_index_is_named_and_can_be_mended(pair: tuple[Engine, Function], index: int) -> None:
    client = Client(*pair)
    raw = Raw(client)
    raw.index(index)
    client.until("state", "error")
    assert "write_index" in str(client.state["message"])
    assert client.function.header()["read_index"] == 0
    assert raw.answer(packet(exec_buf())) == COMPLETED


@pytest.mark.parametrize(
    ("field", "value"), [("capacity", 0), ("capacity", 31), ("capacity", 64), ("capacity", 2**31), ("major", 2)]
)
def test_bad_header_is_named(pair: tuple[Engine, Function], field: str, value: int) -> None:
    client = Client(*pair)
    form = host_queue.HEADER_PADDED
    width = 4 if field == "capacity" else 2
    os.pwrite(client.function.memory, value.to_bytes(width, "little"), form.offsets[field])
    client.queue.submit([(0, BASE + CODE)])
    client.until("state", "error")
    assert str(value) in str(client.state["message"])


@pytest.mark.parametrize("address", [2**64 - 64, 2**64 - 1, 0, BASE + SIZE - 64])
def test_packets_at_a_bad_address(pair: tuple[Engine, Function], address: int) -> None:
    client = Client(*pair)
    raw = Raw(client)
    os.pwrite(raw.memory, struct.pack("<Q", address), host_queue.HEADER_PADDED.offsets["data_address"])
    raw.index(3)
    # The last case has one slot inside memory, all zeros: that one is an invalid packet, the next one is out of reach.
    client.until("state", "error")
    assert "queue" in str(client.state["message"])


def test_queue_unmapped_while_idle(pair: tuple[Engine, Function]) -> None:
    engine, function = pair
    client = Client(engine, function)
    assert client.run() == COMPLETED
    client.until("read_index", 1)
    function.space.unmap(BASE, PAGE)
    client.queue.submit([(0, BASE + CODE)])
    client.until("state", "error")
    assert "not mapped" in str(client.state["message"])
    function.space.map(BASE, function.memory, 0, PAGE, 3)
    client.queue.ring()
    assert client.wait(1) == COMPLETED


def test_shrunk_memory_ends_only_its_context(pair: tuple[Engine, Function]) -> None:
    engine, function = pair
    other = Function()
    victim, witness = Client(engine, function), Client(engine, other, doorbell=1)
    assert victim.run() == witness.run() == COMPLETED
    os.ftruncate(function.memory, 0)
    os.pwrite(function.doorbells, bytes(4), 0)
    engine.kick()
    victim.until("state", "error")
    assert "shrunk" in str(victim.state["message"])
    # The client's own mapping meets the shrunk file at its first access, and says so at the next packet.
    assert submissions(victim) == "shrunk"
    assert witness.run() == COMPLETED
    other.close()


def test_shrunk_doorbell_harms_nobody_else(pair: tuple[Engine, Function]) -> None:
    engine, function = pair
    other = Function()
    victim, witness = Client(engine, function), Client(engine, other)
    os.ftruncate(function.doorbells, 0)
    engine.kick()
    assert witness.run() == COMPLETED
    assert submissions(victim) == "shrunk"
    engine.destroy_context(victim.context)
    assert witness.run() == COMPLETED
    other.close()


def test_destroyed_context_touches_nothing(pair: tuple[Engine, Function]) -> None:
    engine, function = pair
    client = Client(engine, function)
    client.run()
    client.until("read_index", 1)
    engine.destroy_context(client.context)
    before = os.pread(function.memory, SIZE, 0), os.pread(function.doorbells, PAGE, 64)
    os.pwrite(function.doorbells, bytes(4), 0)
    engine.kick()
    time.sleep(0.01)
    assert (os.pread(function.memory, SIZE, 0), os.pread(function.doorbells, PAGE, 64)) == before
    assert os.pread(function.doorbells, 4, 0) == bytes(4)
    for call in (engine.destroy_context, engine.context_state, engine.report, engine.take_trace):
        with pytest.raises(FileNotFoundError, match="does not exist"):
            call(client.context)


def test_contexts_are_created_and_destroyed_while_others_run(pair: tuple[Engine, Function]) -> None:
    engine, function = pair
    steady = Client(engine, function)
    stop = threading.Event()
    failures: list[int] = []

    def work() -> None:
        while not stop.is_set():
            word = steady.run()
            if word != COMPLETED:
                failures.append(word)

    thread = threading.Thread(target=work)
    thread.start()
    others = [Function() for _ in range(2)]
    try:
        for round_number in range(40):
            client = Client(engine, others[round_number % 2], doorbell=1)
            client.queue.submit([(0, BASE + CODE)])
            engine.destroy_context(client.context)
    finally:
        stop.set()
        thread.join()
        for other in others:
            other.close()
    assert failures == []
    assert steady.state["errors"] == 0


def test_faults_of_one_context_leave_the_other_alone(pair: tuple[Engine, Function]) -> None:
    engine, function = pair
    other = Function()
    bad, good = Client(engine, function), Client(engine, other, doorbell=1)
    for _ in range(50):
        first = bad.queue.submit([(0, 0x1000)])
        second = good.queue.submit([(0, BASE + CODE)])
        assert bad.wait(first) & 15 == CompletionState.ERROR
        assert good.wait(second) == COMPLETED
    assert (bad.state["errors"], good.state["errors"]) == (50, 0)
    other.close()


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"column": 3, "columns": 1}, "columns"),
        ({"column": 0, "columns": 0}, "columns"),
        ({"column": 2**32 - 1, "columns": 2}, "columns"),
        ({"vector": 4}, "vector 4"),
        ({"queue_address": 4}, "queue address"),
        ({"queue_address": 2**64 - 8}, "queue address"),
        ({"doorbell_offset": 5}, "multiples"),
        ({"doorbell_offset": 16 * PAGE}, "enlarge"),
    ],
)
def test_bad_contexts_are_refused(pair: tuple[Engine, Function], values: dict[str, int], text: str) -> None:
    engine, function = pair
    good = {"queue_address": BASE, "column": 0, "columns": 3, "doorbell_offset": 0, "vector": 1}
    with pytest.raises(OSError, match=text) as caught:
        engine.create_context(
            function.space, doorbell_fd=function.doorbells, interrupts=function.interrupts, **{**good, **values}
        )
    assert caught.value.errno == errno.EINVAL
