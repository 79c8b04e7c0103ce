"""A guest that writes anything anywhere: the device touches what the guest has mapped for it, and no byte beside it.

Memory is a file with holes where nothing is mapped. Whoever reads or writes a hole through a mapping makes the kernel put a page
there, which ``SEEK_HOLE`` tells.
"""

from __future__ import annotations

import mmap
import os
import random
import struct
import time
from pathlib import Path

import pytest
from _host import SRIOV_CAPABILITY, Mailbox, enable, set_num_vfs, start_pf
from _vfio_user import CONFIG, REGION_READ, REGION_WRITE, RawClient, memfd

from fauxdna.abi import bars, control_code
from fauxdna.abi.host_queue import HEADER_UNPADDED, PACKET
from fauxdna.bus import Region
from fauxdna.bus.vfio_user import VfioUserBus
from fauxdna.firmware import build_images
from fauxdna.serve.vfio_user import VfioUserServer

PAGE = 4096
PAGES = 60
BASE = 0x1_0000_0000
SEED = int(os.environ.get("FAUXDNA_FUZZ_SEED", "1"))
ROUNDS = int(os.environ.get("FAUXDNA_FUZZ_ROUNDS", "300"))


class Memory:
    """A client's file: of every five pages four are mapped, and the fifth is a hole in file and addresses alike."""

    def __init__(self) -> None:
        self.fd = memfd(PAGES * PAGE)
        for first in range(0, PAGES, 5):
            os.pwrite(self.fd, b"\xa5" * 4 * PAGE, first * PAGE)

    def map(self, bus: VfioUserBus | RawClient, base: int = BASE) -> None:
        for first in range(0, PAGES, 5):
            if isinstance(bus, VfioUserBus):
                bus.dma_map(base + first * PAGE, self.fd, first * PAGE, 4 * PAGE, 3)
            else:
                bus.map(base + first * PAGE, self.fd, first * PAGE, 4 * PAGE)

    def touched(self) -> list[int]:
        """Holes that are holes no more."""
        holes = range(4, PAGES, 5)
        return [page for page in holes if os.lseek(self.fd, page * PAGE, os.SEEK_HOLE) != page * PAGE]


def addresses(numbers: random.Random, base: int = BASE) -> int:
    """An address at an edge of what is mapped, of a page, of all; or any."""
    edge = base + numbers.randrange(-1, PAGES + 1) * PAGE + numbers.choice([-64, -8, -4, -1, 0, 0, 0, 4, 64, PAGE - 4, PAGE - 8])
    return numbers.choice([edge, edge, edge, edge, 0, numbers.getrandbits(64), numbers.getrandbits(34)]) & (1 << 64) - 1


@pytest.fixture
def folder(server: VfioUserServer, tmp_path: Path) -> Path:
    """Of the functions' sockets."""
    return tmp_path


def test_a_hole_tells_that_it_was_read() -> None:
    """What the other tests rest on."""
    memory = Memory()
    assert memory.touched() == []
    view = mmap.mmap(memory.fd, PAGES * PAGE)
    assert view[9 * PAGE + 5] == 0
    assert memory.touched() == [9]
    view.close()
    os.close(memory.fd)


def test_packets_and_control_code_with_any_address(folder: Path) -> None:
    memory, other = Memory(), Memory()
    numbers = random.Random(SEED)
    with VfioUserBus(folder / "pf") as pf, VfioUserBus(folder / "vf0") as vf, VfioUserBus(folder / "vf1") as sister:
        channel = start_pf(pf, build_images())
        assert channel.call("CREATE_VFS", vf_count=2).status == 0
        set_num_vfs(pf, 2)
        for bus, mapped in ((vf, memory), (sister, other)):
            enable(bus)
            mapped.map(bus)
        mailbox = Mailbox(vf)
        partition = mailbox.call("CREATE_PARTITION", column_count=3).partition_id
        (area,) = vf.region_map(Region.BAR2)
        doorbells = mmap.mmap(area.fd, area.length)
        context, sent = 0, 0
        for _ in range(ROUNDS):
            if not context:
                os.pwrite(memory.fd, HEADER_UNPADDED.pack(capacity=32, data_address=BASE + 0x1000), 0)
                answer = mailbox.call(
                    "CREATE_HW_CONTEXT",
                    partition_id=partition,
                    request_num_tiles=12,
                    queue_address_high=BASE >> 32,
                    queue_address_low=BASE & 0xFFFFFFFF,
                )
                assert answer.status == 0
                context, sent, doorbell = answer.hw_context_id, 0, answer.doorbell_offset
            code = 5 * PAGE * numbers.randrange(1, 6)
            os.pwrite(memory.fd, hostile_page(numbers), code)
            os.pwrite(memory.fd, hostile_packet(numbers, BASE + code), 0x1000 + sent % 32 * PACKET.size)
            sent += 1
            os.pwrite(memory.fd, struct.pack("<Q", sent), HEADER_UNPADDED.offsets["write_index"])
            doorbells[doorbell : doorbell + 4] = bytes(4)
            if not taken(memory.fd, sent):
                assert mailbox.call("DESTROY_HW_CONTEXT", hw_context_id=context).status == 0
                context = 0
        assert memory.touched() == []
        assert other.touched() == []
        assert os.pread(other.fd, 4 * PAGE, 0) == b"\xa5" * 4 * PAGE, "another function's memory, at the same addresses"
        doorbells.close()
    for each in (memory, other):
        os.close(each.fd)


def hostile_page(numbers: random.Random) -> bytes:
    """A page that may be in order but for instructions of any opcode, with addresses among their operands."""
    body = bytearray()
    opcodes = [int(opcode) for opcode in control_code.Opcode]
    for number in range(numbers.randrange(1, 4)):
        instructions = bytearray()
        for _ in range(numbers.randrange(1, 8)):
            words = [numbers.choice([addresses(numbers) & 0xFFFFFFFF, BASE >> 32, numbers.randrange(64)]) for _ in range(4)]
            operands = struct.pack("<4I", *words)[: numbers.choice([2, 6, 10, 14])]
            instructions += bytes([numbers.choice(opcodes), 0]) + operands
        body += struct.pack("<BBHHH", control_code.Opcode.START_JOB, 0, number, 12 + len(instructions), 0) + instructions
        body += struct.pack("<I", control_code.Opcode.END_JOB)
    header = control_code.PAGE_HEADER.pack(magic=control_code.PAGE_MAGIC, page=0, length=len(body) + 16, next_length=0)
    return (header + body).ljust(control_code.PAGE_SIZE, bytes([control_code.FILLER]))


def hostile_packet(numbers: random.Random, code: int) -> bytes:
    """EXEC_BUF most of the time, of the code given or of any; its other words and its completion signal are any address."""
    code = numbers.choice([code, code, code, addresses(numbers)])
    words = [addresses(numbers) & 0xFFFFFFFF for _ in range(12)]
    words[1:3] = code & 0xFFFFFFFF, code >> 32
    words[3] = numbers.choice([0, 0, 16, 0xFFFF])
    fields = {
        "type": numbers.choice([0, 0, 0, 0, 1, 255]),
        "opcode": numbers.choice([1, 1, 1, 1, 2, numbers.randrange(256)]),
        "count": numbers.choice([24, 24, 24, 48, 0, 65535]),
        "indirect": numbers.choice([0, 0, 0, 1]),
        "distribute": numbers.choice([0, 0, 0, 1]),
        "completion_signal": addresses(numbers),
    }
    return PACKET.pack(**fields)[:16] + struct.pack("<12I", *words)


def taken(fd: int, sent: int) -> bool:
    """Whether the packet is done; not if the context stopped, or its control code waits for what never comes."""
    until = time.monotonic() + 0.05
    at = HEADER_UNPADDED.offsets["read_index"]
    while time.monotonic() < until:
        if struct.unpack("<Q", os.pread(fd, 8, at))[0] == sent:
            return True
    return False


def test_every_register_and_byte_of_both_functions(folder: Path) -> None:
    """Trapped and mapped, in a state in which the functions run; addresses that the PF takes lie at the edges of its memory."""
    numbers = random.Random(SEED)
    memory = Memory()
    writes = [("pf", CONFIG, offset, 1) for offset in range(4096)] + [("vf", CONFIG, offset, 1) for offset in range(4096)]
    for bar in (0, 1, 4, 5):
        writes += [("pf", bar, offset, 4) for offset in range(0, 4096, 4)]
    for bar in (0, 1):
        writes += [("vf", bar, offset, 4) for offset in range(0, 4096, 4)]
    writes += [
        (name, 2, offset, 4) for name in ("pf", "vf") for offset in (*range(0, 0x3000, 64), *range(0x10000, 1 << 20, 4096))
    ]
    numbers.shuffle(writes)
    with VfioUserBus(folder / "pf") as bus:
        channel = start_pf(bus, build_images())
        assert channel.call("CREATE_VFS", vf_count=1).status == 0
        set_num_vfs(bus, 1)
        with RawClient(folder / "vf0") as vf:
            vf.reset()
            memory.map(bus, 0)
            memory.map(vf, 0)
            clients = {"pf": bus, "vf": vf}
            (area,) = bus.region_map(Region.BAR2)
            sram = mmap.mmap(area.fd, area.length)
            for number, (name, region, offset, length) in enumerate(writes):
                if number % 50 == 0:
                    # What earlier writes switched off is switched on again, and PSP is sent to an edge of the memory.
                    enable(bus)
                    vf.write(CONFIG, 4, b"\6\0")
                    bus.region_write(Region.CONFIG, SRIOV_CAPABILITY + 8, b"\x09\0")
                    psp(bus, addresses(numbers, 0), numbers)
                value = numbers.choice([bytes(length), b"\xff" * length, numbers.randbytes(length)])
                client = clients[name]
                if isinstance(client, VfioUserBus):
                    if region == 2 and number % 2:
                        sram[offset : offset + length] = value
                    else:
                        client.region_write(Region(region), offset, value)
                    if number % 4 == 0:
                        client.region_read(Region(region), offset, length)
                else:
                    request = struct.pack("<QII", offset, region, length)
                    assert client.ask(REGION_WRITE, request + value).error == 0
                    if number % 4 == 0:
                        assert client.ask(REGION_READ, request).error == 0
            sram.close()
        assert memory.touched() == []
        bus.reset()
        bus.dma_unmap(0, 1 << 62)
        start_pf(bus, build_images())
    os.close(memory.fd)


def psp(bus: VfioUserBus, address: int, numbers: random.Random) -> None:
    """Any command on any number of bytes there."""
    for offset, value in (
        (bars.PSP_ARGUMENT0, address & 0xFFFFFFFF),
        (bars.PSP_ARGUMENT1, address >> 32),
        (bars.PSP_COMMAND, numbers.randrange(6) << 24 | numbers.choice([0, 144, 4096, 16384, 65536, numbers.getrandbits(24)])),
        (bars.PSP_INTERRUPT, 0),
        (bars.PSP_INTERRUPT, 0xD007BE11),
    ):
        bus.region_write(Region.BAR4, offset, struct.pack("<I", value))
