"""What a host does to a function, register by register, in Linux 7.2's order. It knows the bus and abi only."""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass, field

from fauxdna.abi import bars, mailbox, messages, psp
from fauxdna.abi.messages import PROTOCOL_5_10, Status
from fauxdna.abi.psp import PspCommand
from fauxdna.abi.smu import SmuCommand
from fauxdna.bus import Bus, DmaAccess, Region

COMMAND = 0x04
MEMORY_AND_MASTER = 0x6
NPU_ADDRESS, CERT_ADDRESS, WORK_ADDRESS = 0x1000_0000, 0x2000_0000, 0x3000_0000


@dataclass
class RecordingEngine:
    """Stands for the engine where a test asks what firmware tells it."""

    contexts: dict[int, dict[str, object]] = field(default_factory=dict)
    clocks: list[int] = field(default_factory=list)
    kicks: int = 0
    closed: bool = False
    made: int = 0
    refuse: OSError | None = None
    failed: dict[int, tuple[str, int]] = field(default_factory=dict)

    def create_context(self, space: object, **arguments: object) -> int:
        if self.refuse is not None:
            raise self.refuse
        self.made += 1
        self.contexts[self.made] = {"space": space, **arguments}
        return self.made

    def destroy_context(self, context: int) -> None:
        del self.contexts[context]

    def context_state(self, context: int) -> dict[str, object]:
        assert context in self.contexts
        message, errors = self.failed.get(context, ("", 0))
        return {"state": "idle", "completed": 0, "errors": errors, "message": message, "simulated_ns": 0, "energy_pj": 0.0}

    def set_events(self, context: int, sinks: object) -> None:
        assert context in self.contexts

    def set_clock(self, megahertz: int) -> None:
        self.clocks.append(megahertz)

    def kick(self) -> None:
        self.kicks += 1

    def close(self) -> None:
        self.closed = True


def read32(bus: Bus, region: Region, offset: int) -> int:
    return int.from_bytes(bus.region_read(region, offset, 4), "little")


def write32(bus: Bus, region: Region, offset: int, value: int) -> None:
    bus.region_write(region, offset, struct.pack("<I", value))


def enable(bus: Bus) -> None:
    """pcim_enable_device, pci_set_master."""
    bus.region_write(Region.CONFIG, COMMAND, struct.pack("<H", MEMORY_AND_MASTER))


class HostMemory:
    """Memory of the host, mapped for a function at a device address."""

    def __init__(self, bus: Bus, address: int, size: int, access: DmaAccess = DmaAccess.READ | DmaAccess.WRITE) -> None:
        self.address, self.size = address, size
        fd = os.memfd_create("test", os.MFD_CLOEXEC)
        os.ftruncate(fd, size)
        self.view = mmap.mmap(fd, size)
        bus.dma_map(address, fd, 0, size, access)
        os.close(fd)


def smu(bus: Bus, command: int, argument: int = 0) -> tuple[int, int]:
    """aie_smu_exec: (response, out)."""
    write32(bus, Region.BAR5, bars.SMU_RESPONSE, 0)
    write32(bus, Region.BAR5, bars.SMU_ARGUMENT, argument)
    write32(bus, Region.BAR5, bars.SMU_COMMAND, command)
    write32(bus, Region.BAR5, bars.SMU_INTERRUPT, 0)
    write32(bus, Region.BAR5, bars.SMU_INTERRUPT, 1)
    return read32(bus, Region.BAR5, bars.SMU_RESPONSE), read32(bus, Region.BAR5, bars.SMU_ARGUMENT)


def psp_exec(bus: Bus, command: int, address: int = 0, size: int = 0) -> int:
    """psp_exec: the response."""
    assert read32(bus, Region.BAR4, bars.PSP_COMMAND) & 0x80000000, "PSP is not ready"
    write32(bus, Region.BAR4, bars.PSP_COMMAND, command)
    write32(bus, Region.BAR4, bars.PSP_ARGUMENT0, address & 0xFFFFFFFF)
    write32(bus, Region.BAR4, bars.PSP_ARGUMENT1, address >> 32)
    write32(bus, Region.BAR4, bars.PSP_COMMAND, command << 24 | size)
    write32(bus, Region.BAR4, bars.PSP_INTERRUPT, 0)
    write32(bus, Region.BAR4, bars.PSP_INTERRUPT, 0xD007BE11)
    assert read32(bus, Region.BAR4, bars.PSP_COMMAND) & 0x80000000, "PSP is not done"
    return read32(bus, Region.BAR4, bars.PSP_ARGUMENT0)


def load(memory: HostMemory, image: bytes, alignment: int) -> int:
    """Copies an image in front of garbage, as psp_alloc_fw_buf does; gives the rounded size."""
    size = -(-len(image) // alignment) * alignment
    memory.view[:size] = b"\xa5" * size
    memory.view[: len(image)] = image
    return size


@dataclass(frozen=True)
class Reply:
    """One message of the i2x ring."""

    header: tuple[int, int, int, int]
    payload: bytes


class Mailbox:
    """The host's side, after amdxdna_mailbox.c."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        info = bars.MAILBOX_INFO.unpack(bus.region_read(Region.BAR2, 0, bars.MAILBOX_INFO.size))
        assert info.valid == 1, "mailbox_info.valid is not set"
        self.info = info
        self.tail = read32(bus, Region.BAR0, info.x2i_tail_offset)
        self.head = read32(bus, Region.BAR0, info.i2x_head_offset)
        self.next_id = 0
        self.tombstones_sent = self.tombstones_seen = 0

    def post(self, opcode: int, payload: bytes, *, size_version: int | None = None, identifier: int | None = None) -> int:
        """mailbox_send_msg, for a ring with room; gives the message id."""
        if identifier is None:
            identifier = 0x1D000000 | self.next_id
            self.next_id = (self.next_id + 1) % 256
        if size_version is None:
            size_version = len(payload) | 1 << 16
        package = struct.pack("<4I", len(payload), size_version, identifier, opcode) + payload
        head = read32(self.bus, Region.BAR0, self.info.x2i_head_offset)
        if self.tail >= head and self.tail + len(package) > self.info.x2i_buffer_size - 4:
            self._ring(self.tail, struct.pack("<I", 0xDEADFACE))
            self.tombstones_sent += 1
            self.tail = 0
        assert not self.tail < head <= self.tail + len(package), "x2i ring is full"
        self._ring(self.tail, package)
        self.tail += len(package)
        write32(self.bus, Region.BAR0, self.info.x2i_tail_offset, self.tail)
        return identifier

    def receive(self) -> Reply | None:
        """mailbox_get_msg."""
        size = self.info.i2x_buffer_size
        tail = read32(self.bus, Region.BAR0, self.info.i2x_tail_offset)
        assert tail <= size, "invalid tail"
        assert tail % 4 == 0, "invalid tail"
        if self.head == tail:
            return None
        if self.head == size:
            self.head = 0
        (total,) = struct.unpack("<I", self.bus.region_read(Region.BAR2, self.info.i2x_buffer_addr + self.head, 4))
        if total == mailbox.TOMBSTONE:
            assert self.head >= tail, "tombstone before the tail"
            self.tombstones_seen += 1
            self._set_head(0)
            return self.receive()
        assert total, "empty message"
        assert total % 4 == 0, "invalid total size"
        assert 16 + total <= size - self.head, "message leaves the ring"
        assert self.head > tail or 16 + total <= tail - self.head, "message passes the tail"
        package = self.bus.region_read(Region.BAR2, self.info.i2x_buffer_addr + self.head, 16 + total)
        header = struct.unpack("<4I", package[:16])
        self._set_head(self.head + 16 + total)
        return Reply(header, package[16:])

    def call(self, name: str, **fields: int) -> messages.Record:
        """aie_send_mgmt_msg_wait: sends a message of protocol 5.10 and checks the response's frame."""
        message = PROTOCOL_5_10[name]
        identifier = self.post(message.opcode, message.request.pack(**fields))
        reply = self.receive()
        assert reply is not None, f"{name} was not answered"
        size = message.response.size
        assert reply.header == (size, size | 1 << 16, identifier, message.opcode)
        return message.response.unpack(reply.payload)

    def _ring(self, offset: int, data: bytes) -> None:
        self.bus.region_write(Region.BAR2, self.info.x2i_buffer_addr + offset, data)

    def _set_head(self, head: int) -> None:
        self.head = head
        write32(self.bus, Region.BAR0, self.info.i2x_head_offset, head)


def start_firmware(bus: Bus, images: dict[str, bytes]) -> None:
    """aie4_fw_start: SMU 4, 3; PSP 1, 4, 2."""
    assert smu(bus, SmuCommand.POWER_OFF)[0] == 1
    assert smu(bus, SmuCommand.POWER_ON)[0] == 1
    npu = HostMemory(bus, NPU_ADDRESS, psp.NPU_ALIGNMENT)
    cert = HostMemory(bus, CERT_ADDRESS, psp.CERT_ALIGNMENT)
    assert psp_exec(bus, PspCommand.VALIDATE, npu.address, load(npu, images["npu.dev.sbin"], psp.NPU_ALIGNMENT)) == 0
    assert psp_exec(bus, PspCommand.VALIDATE_CERT, cert.address, load(cert, images["cert.dev.sbin"], psp.CERT_ALIGNMENT)) == 0
    assert psp_exec(bus, PspCommand.START, psp.START_COPY_FIRMWARE) == 0
    bus.dma_unmap(NPU_ADDRESS, psp.NPU_ALIGNMENT)
    bus.dma_unmap(CERT_ADDRESS, psp.CERT_ALIGNMENT)


def start_pf(bus: Bus, images: dict[str, bytes]) -> Mailbox:
    """aie4_pf_init: firmware, mailbox, work buffer."""
    enable(bus)
    start_firmware(bus, images)
    channel = Mailbox(bus)
    HostMemory(bus, WORK_ADDRESS, 4 << 20)
    answer = channel.call("ATTACH_WORK_BUFFER", buffer_address=WORK_ADDRESS, buffer_size=4 << 20)
    assert answer.status == Status.SUCCESS
    return channel


def stop_pf(bus: Bus, channel: Mailbox) -> None:
    """aie4_pf_fini: SUSPEND, PSP 3, SMU 4, work buffer freed."""
    assert channel.call("SUSPEND").status == Status.SUCCESS
    assert psp_exec(bus, PspCommand.RELEASE_TMR) == 0
    assert smu(bus, SmuCommand.POWER_OFF)[0] == 1
    bus.dma_unmap(WORK_ADDRESS, 4 << 20)


SRIOV_CAPABILITY = 0x140


def set_num_vfs(bus: Bus, count: int) -> None:
    """pci_enable_sriov / pci_disable_sriov: NumVFs, then VF Enable and VF MSE."""
    if count:
        bus.region_write(Region.CONFIG, SRIOV_CAPABILITY + 0x10, struct.pack("<H", count))
        bus.region_write(Region.CONFIG, SRIOV_CAPABILITY + 0x08, struct.pack("<H", 0x9))
    else:
        bus.region_write(Region.CONFIG, SRIOV_CAPABILITY + 0x08, struct.pack("<H", 0))
        bus.region_write(Region.CONFIG, SRIOV_CAPABILITY + 0x10, struct.pack("<H", 0))
