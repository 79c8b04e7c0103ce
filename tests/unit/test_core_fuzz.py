"""Packets, headers and control-code pages that nobody would write, beside a context that must not notice."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

import pytest
from core_harness import BASE, CODE, EMPTY, Client, Function, die
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fauxdna.abi import control_code, host_queue
from fauxdna.abi.host_queue import CompletionState

COMPLETED = int(CompletionState.COMPLETED)
STATES = {CompletionState.COMPLETED, CompletionState.ERROR, CompletionState.ABORT, CompletionState.TIMEOUT}
SIGNAL = 0x8000
"""Where the completion word of a hostile packet goes, in memory that the queue does not use."""

EDGES = [0, 1, 2**31, 2**32 - 1, 2**32, 2**57, 2**63, 2**64 - 64, 2**64 - 1, BASE, BASE + CODE, BASE + CODE - 1]
words = st.one_of(st.sampled_from(EDGES), st.integers(0, 2**64 - 1))
bytes_ = st.one_of(st.sampled_from([0, 1, 2, 3, 24, 255]), st.integers(0, 255))
packets = st.builds(
    lambda fields, data: host_queue.PACKET.pack(**fields)[:16] + struct.pack("<6Q", *data),
    st.fixed_dictionaries(
        {
            "type": st.sampled_from([0, 0, 0, 1, 255]),
            "opcode": st.one_of(st.just(1), bytes_),
            "chain": st.sampled_from([0, 0, 1, 2]),
            "count": st.one_of(st.sampled_from([0, 8, 24, 48, 56, 65535]), st.integers(0, 65535)),
            "distribute": st.sampled_from([0, 1, 2]),
            "indirect": st.sampled_from([0, 1, 2]),
            "completion_signal": st.just(BASE + SIGNAL),
        }
    ),
    st.lists(words, min_size=6, max_size=6),
)
opcodes = st.one_of(st.sampled_from([int(opcode) for opcode in control_code.Opcode]), st.integers(0, 255))
instructions = st.builds(
    lambda opcode, operands: bytes([opcode, 0]) + operands,
    opcodes,
    st.one_of(st.binary(min_size=2, max_size=18), st.sampled_from([bytes(2), bytes(6), bytes(10), b"\xff" * 6])),
)


class Pair:
    """A victim whose memory the test writes, and a witness."""

    def __init__(self, victim: Client, witness: Client) -> None:
        self.victim, self.witness = victim, witness
        self.sent = 0

    def send(self, packet: bytes) -> int:
        """Sends a packet and gives its completion word."""
        memory = self.victim.function.memory
        os.pwrite(memory, bytes(4), SIGNAL)
        os.pwrite(memory, packet, 128 + self.sent % 32 * 64)
        self.sent += 1
        os.pwrite(memory, struct.pack("<Q", self.sent), host_queue.HEADER_PADDED.offsets["write_index"])
        self.victim.queue.ring()
        self.victim.until("read_index", self.sent)
        return int(struct.unpack("<I", os.pread(memory, 4, SIGNAL))[0])

    def check(self) -> None:
        """The witness works, and no error was one of ours."""
        assert self.witness.run() == COMPLETED
        assert self.witness.state["errors"] == 0
        assert "internal" not in str(self.victim.state["message"])


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with die() as (engine, function):
        other = Function()
        yield Pair(Client(engine, function), Client(engine, other, doorbell=1))
        engine.close()
        other.close()


QUICK = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@QUICK
@given(packet=packets)
def test_any_packet_is_answered(pair: Pair, packet: bytes) -> None:
    if packet[2] == host_queue.PacketOpcode.EXIT:
        packet = packet[:2] + b"\x09" + packet[3:]
    word = pair.send(packet)
    # An indirect entry may point at code that overwrites the word's page; that is the client's own affair.
    assert word == 0 or word & 15 in STATES
    pair.check()


@QUICK
@given(jobs=st.lists(st.lists(instructions, max_size=6), max_size=4), lie=st.integers(-8, 8), length=st.integers(-32, 32))
def test_any_page_is_answered(pair: Pair, jobs: list[list[bytes]], lie: int, length: int) -> None:
    body = b""
    for number, job in enumerate(jobs):
        inside = b"".join(job)
        size = max(0, 8 + len(inside) + 4 + lie)
        body += struct.pack("<BBHHH", 0, 0, number, size, 0) + inside + struct.pack("<I", control_code.Opcode.END_JOB)
    body += struct.pack("<I", control_code.Opcode.EOF)
    header = control_code.PAGE_HEADER.pack(magic=control_code.PAGE_MAGIC, length=max(0, 16 + len(body) + length))
    code = pair.victim.function.code(1, (header + body).ljust(control_code.PAGE_SIZE, b"\xa5")[: control_code.PAGE_SIZE])
    exec_buf = host_queue.EXEC_BUF.pack(code_low=code & 0xFFFFFFFF, code_high=code >> 32)
    word = pair.send(host_queue.PACKET.pack(opcode=1, count=24, completion_signal=BASE + SIGNAL)[:16] + exec_buf.ljust(48, b"\0"))
    assert word & 15 in STATES
    pair.check()


def test_the_victim_still_works(pair: Pair) -> None:
    pair.victim.function.code(0, EMPTY)
    exec_buf = host_queue.EXEC_BUF.pack(code_low=(BASE + CODE) & 0xFFFFFFFF, code_high=(BASE + CODE) >> 32)
    # A chain that failed may still be open: its last packet is aborted, the one after it runs.
    packet = host_queue.PACKET.pack(opcode=1, count=24, completion_signal=BASE + SIGNAL)[:16] + exec_buf.ljust(48, b"\0")
    pair.send(packet)
    assert pair.send(packet) == COMPLETED
