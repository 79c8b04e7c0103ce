"""Linux 7.2's own AIE4 driver, unmodified, compiled as a library and probing our functions through the bus.

Needs gcc and the driver's source, which ``./dev root`` fetches; ``FAUXDNA_LINUX_SOURCE`` names another kernel source tree.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import struct
import subprocess
from collections.abc import Iterator
from mmap import mmap
from pathlib import Path

import pytest

from fauxdna._core import HostQueue
from fauxdna.abi.host_queue import PacketOpcode
from fauxdna.bus import Region
from fauxdna.bus.local import LocalBus
from fauxdna.firmware import build_images
from fauxdna.log import Level
from fauxdna.serve import LocalDie

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fauxdna" / "trixie"
ROOT = Path(os.environ.get("FAUXDNA_TRIXIE_ROOT") or CACHE)
SOURCE = Path(os.environ.get("FAUXDNA_LINUX_SOURCE") or ROOT / "usr/src/linux-source-7.2")
DRIVER = SOURCE / "drivers/accel/amdxdna"
HERE = Path(__file__).parent / "stock_driver"
UNMODIFIED = [
    "amdxdna_mailbox.c",
    "amdxdna_mailbox.h",
    "amdxdna_mailbox_helper.c",
    "amdxdna_mailbox_helper.h",
    "aie.c",
    "aie.h",
    "aie_psp.c",
    "aie_smu.c",
    "aie4_message.c",
    "aie4_msg_priv.h",
    "aie4_sriov.c",
    "aie4_ctx.c",
    "aie4_host_queue.h",
    "aie4_pci.c",
    "aie4_pci.h",
    "npu3_regs.c",
]
REPLACED = ("amdxdna_gem.h", "amdxdna_ctx.h")
KERNEL_HEADERS = [
    "linux/bitfield.h",
    "linux/completion.h",
    "linux/device.h",
    "linux/errno.h",
    "linux/firmware.h",
    "linux/interrupt.h",
    "linux/iopoll.h",
    "linux/mutex.h",
    "linux/pci.h",
    "linux/sizes.h",
    "linux/slab.h",
    "linux/xarray.h",
    "drm/drm.h",
    "drm/drm_device.h",
    "drm/drm_gem.h",
    "drm/drm_gem_shmem_helper.h",
    "drm/drm_managed.h",
    "drm/drm_print.h",
    "drm/gpu_scheduler.h",
    "trace/events/amdxdna.h",
]
ARENA_ADDRESS, ARENA_SIZE = 0x4000_0000, 64 << 20

pytestmark = [
    pytest.mark.skipif(
        not DRIVER.is_dir(), reason=f"no Linux 7.2 source at {SOURCE}; get it with ./dev root (needs root and network)"
    ),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc"),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The driver's files next to a kernel of 300 lines, compiled together."""
    build = tmp_path_factory.mktemp("stock")
    for name in UNMODIFIED:
        shutil.copy(DRIVER / name, build)
    for name in ("kernel.h", "harness.c", "amdxdna_pci_drv.h"):
        shutil.copy(HERE / name, build)
    for name in KERNEL_HEADERS:
        (build / name).parent.mkdir(parents=True, exist_ok=True)
        (build / name).touch()
    for name in REPLACED:
        (build / name).write_text('#include "amdxdna_pci_drv.h"\n')
    shutil.copy(SOURCE / "include/uapi/drm/amdxdna_accel.h", build / "drm")
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-w", "-I.", "-o", "driver.so", "harness.c"], cwd=build, check=True, timeout=600
    )
    return ctypes.CDLL(str(build / "driver.so"))


class Callbacks(ctypes.Structure):
    """struct callbacks of kernel.h."""

    _fields_ = (
        ("read", ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_uint64)),
        ("write", ctypes.CFUNCTYPE(None, ctypes.c_uint64, ctypes.c_uint32)),
        ("wait", ctypes.CFUNCTYPE(None)),
        ("log", ctypes.CFUNCTYPE(None, ctypes.c_char_p)),
        ("sriov", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)),
        ("firmware", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_size_t))),
        ("arena", ctypes.c_void_p),
        ("arena_address", ctypes.c_uint64),
    )


class Kernel:
    """The PCI core, interrupts and files that the driver meets; the functions behind are a die's."""

    def __init__(self, library: ctypes.CDLL, die: LocalDie) -> None:
        self.library = library
        self.die = die
        self.images = dict(build_images())
        self.complaints: list[str] = []
        self._buses: dict[int, LocalBus] = {}
        self._eventfds: dict[int, int] = {}
        self._files: list[ctypes.Array[ctypes.c_char]] = []
        self._arena_fd = os.memfd_create("arena")
        os.ftruncate(self._arena_fd, ARENA_SIZE)
        self._arena = mmap(self._arena_fd, ARENA_SIZE)
        types = dict(Callbacks._fields_)
        self._callbacks = Callbacks(
            types["read"](self._read),
            types["write"](self._write),
            types["wait"](self._wait),
            types["log"](lambda text: self.complaints.append(text.decode())),
            types["sriov"](self._sriov),
            types["firmware"](self._firmware),
            ctypes.addressof(ctypes.c_char.from_buffer(self._arena)),
            ARENA_ADDRESS,
        )
        library.start(ctypes.byref(self._callbacks))

    def add(self, function: int, bdf: str) -> None:
        """What the PCI core and pcim_enable_device do before the driver's code runs; every vector gets an eventfd."""
        bus = self._buses[function] = self.die.open(bdf)
        bus.region_write(Region.CONFIG, 4, b"\x06\x00")
        bus.dma_map(ARENA_ADDRESS, self._arena_fd, 0, ARENA_SIZE, 3)
        eventfds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(8)]
        bus.set_irqs(2, 0, eventfds)
        self._eventfds |= {fd: function * 8 + vector for vector, fd in enumerate(eventfds)}

    def queue(self, function: int, address: int, doorbell: int, layout: str) -> HostQueue:
        """A host queue in the arena, rung through the mapped doorbell page."""
        (area,) = self._buses[function].region_map(Region.BAR2)
        offset = address - ARENA_ADDRESS
        return HostQueue(self._arena_fd, offset, address, 16384, area.fd, doorbell, layout=layout, kick_fd=self.die.kick_fd)

    def close(self) -> None:
        for bus in self._buses.values():
            bus.close()
        for fd in (*self._eventfds, self._arena_fd):
            os.close(fd)

    def _place(self, address: int) -> tuple[LocalBus, Region, int]:
        return self._buses[address >> 40], Region((address >> 32 & 0xFF) - 1), address & 0xFFFFFFFF

    def _read(self, address: int) -> int:
        bus, region, offset = self._place(address)
        return int.from_bytes(bus.region_read(region, offset, 4), "little")

    def _write(self, address: int, value: int) -> None:
        bus, region, offset = self._place(address)
        bus.region_write(region, offset, struct.pack("<I", value))

    def _wait(self) -> None:
        for fd in select.select(list(self._eventfds), [], [], 0.05)[0]:
            os.eventfd_read(fd)
            self.library.fire(self._eventfds[fd])

    def _sriov(self, vfs: int) -> int:
        if vfs:
            self._buses[0].region_write(Region.CONFIG, 0x150, struct.pack("<H", vfs))
        self._buses[0].region_write(Region.CONFIG, 0x148, struct.pack("<H", 9 if vfs else 0))
        return 0

    def _firmware(self, name: bytes, size: ctypes._Pointer[ctypes.c_size_t]) -> int | None:
        folder, _, file = name.decode().rpartition("/")
        assert folder == "amdnpu/17f2_10"
        image = self.images[file]
        self._files.append(ctypes.create_string_buffer(image, len(image)))
        size[0] = len(image)
        return ctypes.addressof(self._files[-1])


@pytest.fixture
def kernel(library: ctypes.CDLL) -> Iterator[Kernel]:
    with LocalDie() as die:
        kernel = Kernel(library, die)
        kernel.add(0, "0000:05:00.0")
        yield kernel
        kernel.close()


def with_vfs(kernel: Kernel, count: int) -> None:
    assert kernel.library.probe(0, 0) == 0
    assert kernel.library.sriov_configure(0, count) == count
    for number in range(1, count + 1):
        kernel.add(number, f"0000:05:00.{number}")
        assert kernel.library.probe(number, 1) == 0


def without_vfs(kernel: Kernel, count: int) -> None:
    for number in range(1, count + 1):
        kernel.library.remove_function(number)
    kernel.library.remove_function(0)


def test_probe_contexts_and_removal(kernel: Kernel) -> None:
    with_vfs(kernel, 2)
    metadata = (ctypes.c_uint32 * 32)()
    for number in (1, 2):
        assert kernel.library.query_metadata(number, metadata) == 0
        # A column's status: DMA words, event words, locks of 4 core tiles, a mem tile, a shim tile (XRT info_aie2.cpp).
        size = 4 * (2 * 8 + 8 * 4 * 2 + 16 + 4 * 4) + (10 * 8 + 8 * 4 + 64) + (4 * 8 + 8 * 4 + 16)
        assert (metadata[0], metadata[1]) == (size, 6 << 16 | 3)
        for index in range(10):
            slot = number * 10 + index
            address = ctypes.c_uint64(ARENA_ADDRESS + ARENA_SIZE - 4096 * (slot + 1))
            assert kernel.library.create_context(number, slot, (4, 8, 12)[index % 3], address, 0x180) == 0
            assert kernel.library.doorbell_offset(slot) == 0x10000 + 0x1000 * index
    for slot in range(10, 30):
        kernel.library.destroy_context(slot)
    without_vfs(kernel, 2)
    assert kernel.complaints == []
    assert kernel.die.log.entries(Level.WARNING) == []


@pytest.mark.parametrize("layout", ["unpadded", "padded"])
def test_wait_for_commands(kernel: Kernel, layout: str) -> None:
    """aie4_cmd_wait reads both indices as the unpadded header has them; a padded queue works because the device mirrors one."""
    with_vfs(kernel, 1)
    address = ARENA_ADDRESS + ARENA_SIZE - 65536
    assert kernel.library.create_context(1, 0, 12, ctypes.c_uint64(address), 0) == 0
    queue = kernel.queue(1, address, kernel.library.doorbell_offset(0), layout)
    for expected in range(100):
        sequence = queue.submit_opcode(PacketOpcode.TEST)
        assert sequence == expected
        assert kernel.library.wait_command(0, ctypes.c_uint64(sequence), 2000) == 0
        assert queue.completion(sequence) == 4
    assert kernel.library.wait_command(0, ctypes.c_uint64(100), 1) == -62
    kernel.library.destroy_context(0)
    without_vfs(kernel, 1)
    assert kernel.complaints == []


def test_a_second_probe_after_removal(kernel: Kernel) -> None:
    for _ in range(3):
        assert kernel.library.probe(0, 0) == 0
        kernel.library.remove_function(0)
    assert kernel.complaints == []


def test_rings_wrap_and_fill(kernel: Kernel) -> None:
    """Bursts of any length, to more than the i2x ring holds (63 answers): all are answered, none is lost."""
    with_vfs(kernel, 1)
    for count in [*range(1, 64), *range(64, 0, -7), 150, 150, 150] * 2:
        assert kernel.library.send_burst(1, count) == count
        assert kernel.library.create_impossible_partition(1) == -22
    assert {text.split(",")[0] for text in kernel.complaints} == {"command opcode 0x30001 failed"}
    without_vfs(kernel, 1)


def test_a_changed_image_is_refused(kernel: Kernel) -> None:
    """``-EIO``, as psp_exec gives it, and the driver names the PSP's code."""
    image = bytearray(kernel.images["cert.dev.sbin"])
    image[70] ^= 1
    kernel.images["cert.dev.sbin"] = bytes(image)
    assert kernel.library.probe(0, 0) == -5
    assert "fw return error 0xffff0002" in kernel.complaints


def test_vfs_do_not_probe_without_their_pf(kernel: Kernel) -> None:
    assert kernel.library.probe(0, 0) == 0
    assert kernel.library.sriov_configure(0, 1) == 1
    kernel.add(1, "0000:05:00.1")
    kernel.library.remove_function(0)
    assert kernel.library.probe(1, 1) == -110
