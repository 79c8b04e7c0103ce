"""BOs that outlive their handles, that are exported, imported, named, or made of the caller's own pages."""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import struct
import subprocess
import sys
from errno import EACCES, EBADF, EFAULT, EINVAL, ENOENT, ENOMEM, EOPNOTSUPP, EPERM

import pytest
from _patience import PATIENCE, eventually
from _uapi import FakeCall, Program, Sandbox

from fauxdna.abi import uapi
from fauxdna.abi.drm import CoreIoctl
from fauxdna.abi.uapi import INVALID_ADDRESS, BoType, Ioctl
from fauxdna.accel.machine import Machine
from fauxdna.driver import Function
from fauxdna.host.uapi import Hub, _user_memory

PAGE = 4096


def function(sandbox: Sandbox) -> Function:
    return sandbox.machine.nodes[sandbox.nodes[0]]


def blocks(sandbox: Sandbox) -> int:
    return os.fstat(sandbox.files[0]).st_blocks * 512


# --- handles and mappings ----------------------------------------------------------------------------------------------


_MAPPER = """
import mmap, os, sys
memory = None
for line in sys.stdin:
    match line.split():
        case ["map", offset, length]:
            memory = mmap.mmap(int(sys.argv[1]), int(length), offset=int(offset))
            memory[:4] = b"kept"
        case ["fork", pipe]:
            if not os.fork():
                os.read(int(pipe), 1)
                os._exit(0)
        case ["unmap"]:
            memory.close()
    print(memory[:4] if memory is not None and not memory.closed else b"", flush=True)
"""


class Mapper:
    """Another process of the sandbox, that maps the node's file: ours maps what the device reaches."""

    def __init__(self, sandbox: Sandbox, *pipes: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _MAPPER, str(sandbox.files[0])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(sandbox.files[0], *pipes),
            text=True,
            bufsize=1,
        )

    def tell(self, text: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(text + "\n")
        return self.process.stdout.readline().strip()

    def __enter__(self) -> Mapper:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)


def test_what_is_mapped_outlives_its_handle_and_is_freed_later(sandbox: Sandbox, program: Program) -> None:
    handle = program.bo(1 << 20)
    node = sandbox.service._nodes[0]
    with Mapper(sandbox) as other:
        other.tell(f"map {program.info(handle).map_offset} {1 << 20}")
        program.ioctl(Ioctl.GEM_CLOSE, handle=handle)
        node.sweep()
        assert other.tell("read") == "b'kept'"
        assert function(sandbox).memory.count == 1, "the device reaches it as well, as long as it is mapped"
        other.tell("unmap")
        node.sweep()
    assert function(sandbox).memory.count == 0
    assert blocks(sandbox) == 0


def test_what_a_forked_child_maps_is_kept(sandbox: Sandbox, program: Program) -> None:
    handle = program.bo(PAGE)
    node = sandbox.service._nodes[0]
    end, begin = os.pipe()
    with Mapper(sandbox, end) as other:
        other.tell(f"map {program.info(handle).map_offset} {PAGE}")
        other.tell(f"fork {end}")
        assert other.tell("unmap") == "b''"
        program.ioctl(Ioctl.GEM_CLOSE, handle=handle)
        node.sweep()
        assert function(sandbox).memory.count == 1
        os.close(begin)
        assert eventually(lambda: (node.sweep(), function(sandbox).memory.count == 0)[1])
    os.close(end)


def test_memory_of_many_short_lived_bos_does_not_pile_up(sandbox: Sandbox, program: Program) -> None:
    size = 8 << 20
    for _ in range(40):
        handle = program.bo(size)
        memory = program.map_bo(handle, size)
        memory[::PAGE] = b"x" * (size // PAGE)
        memory.close()
        program.ioctl(Ioctl.GEM_CLOSE, handle=handle)
    # 64 MiB may wait for a look at who maps them.
    assert blocks(sandbox) <= 64 << 20
    assert program.info(program.bo(PAGE)).map_offset < (1 << 32) + (128 << 20), "places are used again"


def test_a_new_bo_is_empty_whatever_the_program_wrote_into_its_file(sandbox: Sandbox, program: Program) -> None:
    offset = program.info(program.bo(PAGE)).map_offset + PAGE
    os.pwrite(sandbox.files[0], b"rubbish", offset)
    handle = program.bo(PAGE)
    assert program.info(handle).map_offset == offset
    assert program.map_bo(handle)[:7] == bytes(7)


def test_a_program_that_shrinks_its_file_harms_itself(sandbox: Sandbox, program: Program) -> None:
    handles = [program.bo(1 << 16) for _ in range(4)]
    os.ftruncate(sandbox.files[0], 0)
    for handle in handles:
        assert program.errno(Ioctl.GEM_CLOSE, handle=handle) == 0
    again = program.bo(PAGE)
    program.map_bo(again)[:1] = b"x"
    program.close()
    assert function(sandbox).memory.count == 0


# --- export and import --------------------------------------------------------------------------------------------------


def test_a_token_shows_nothing_and_tells_its_size(program: Program) -> None:
    fd = program.export(program.bo(3 * PAGE))
    assert os.fstat(fd).st_size == 3 * PAGE
    with pytest.raises(PermissionError):
        mmap.mmap(fd, PAGE, prot=mmap.PROT_READ)
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", 0)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pread(fd, 1, 0)
    os.close(fd)


def test_an_export_keeps_its_bo(sandbox: Sandbox) -> None:
    exporter, importer = sandbox.open(), sandbox.open()
    handle = exporter.bo(PAGE)
    exporter.map_bo(handle)[:4] = b"kept"
    fd = exporter.export(handle)
    exporter.close()
    assert function(sandbox).memory.count == 1
    imported = importer.import_(fd)
    again = importer.export(imported)
    assert os.fstat(again).st_ino == os.fstat(fd).st_ino, "the same dma-buf"
    os.close(fd)
    os.close(again)
    assert importer.map_bo(imported)[:4] == b"kept"
    assert importer.errno(Ioctl.SYNC_BO, handle=imported, size=PAGE) == EOPNOTSUPP, "amdxdna_flush_bo: is_import_bo"
    importer.close()
    assert function(sandbox).memory.count == 0
    assert len(sandbox.service.hub.tokens) == 0


def test_closing_a_handle_forgets_what_it_was_exported_as(sandbox: Sandbox, program: Program) -> None:
    handle = program.bo(PAGE)
    fd = program.export(handle)
    program.ioctl(Ioctl.GEM_CLOSE, handle=handle)
    assert program.bo(PAGE) == handle, "the number is free again"
    imported = program.import_(fd)
    assert imported != handle
    assert program.errno(Ioctl.SYNC_BO, handle=imported, size=PAGE) == EOPNOTSUPP
    os.close(fd)


def test_another_sandbox_gets_the_memory_for_its_device_alone(host: Machine) -> None:
    host.set_vfs(0)
    host.set_vfs(2)
    hub = Hub()
    with Sandbox(host, "0000:05:00.1", hub=hub) as one, Sandbox(host, "0000:05:00.2", hub=hub) as two:
        exporter, importer = one.open(), two.open()
        handle = exporter.bo(PAGE)
        exporter.map_bo(handle)[:5] = b"hello"
        fd = exporter.export(handle)
        imported = importer.info(importer.import_(fd))
        assert imported.map_offset == INVALID_ADDRESS
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        # What mmap(2) says to an offset that is no multiple of a page.
        assert libc.mmap(None, PAGE, 3, 1, two.files[0], ctypes.c_long(-1)) == INVALID_ADDRESS
        assert ctypes.get_errno() == EINVAL
        bo = host.nodes["0000:05:00.2"].clients[0].bo(1)
        assert (bo.address, bo.size) == (imported.xdna_addr, PAGE)
        assert os.pread(bo.backing.fd, 5, bo.backing.offset) == b"hello"
        os.close(fd)
        one.service.close()
        assert os.pread(bo.backing.fd, 5, bo.backing.offset) == b"hello", "the exporter's file lives as long"


def test_a_name_leads_any_file_of_root_to_the_bo(sandbox: Sandbox, program: Program) -> None:
    if os.geteuid():
        pytest.skip("needs root")
    handle = program.bo(2 * PAGE)
    name = program.ioctl(CoreIoctl.GEM_FLINK, handle=handle).name
    assert program.ioctl(CoreIoctl.GEM_FLINK, handle=handle).name == name
    other = sandbox.open()
    opened = other.ioctl(CoreIoctl.GEM_OPEN, name=name)
    assert (opened.handle, opened.size) == (1, 2 * PAGE)
    assert other.ioctl(CoreIoctl.GEM_OPEN, name=name).handle == 2, "a new handle each time"
    program.close()
    assert other.errno(CoreIoctl.GEM_OPEN, name=name) == 0
    for number in (1, 2, 3):
        other.ioctl(Ioctl.GEM_CLOSE, handle=number)
    assert other.errno(CoreIoctl.GEM_OPEN, name=name) == ENOENT


# --- the caller's own pages -----------------------------------------------------------------------------------------------


class Pages:
    """Anonymous memory of this process."""

    def __init__(self, count: int, protection: int = mmap.PROT_READ | mmap.PROT_WRITE) -> None:
        self.memory = mmap.mmap(-1, count * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        libc = ctypes.CDLL(None)
        libc.mprotect(ctypes.c_void_p(self.address), count * PAGE, protection)


@pytest.mark.skipif(os.geteuid() != 0, reason="GEM names take CAP_SYS_ADMIN")
def test_a_name_ends_with_the_file_that_had_the_last_handle(sandbox: Sandbox, program: Program) -> None:
    """drm_gem_object_handle_put_unlocked frees the name with the last handle, whether it is closed or its file."""
    owner = sandbox.open()
    name = owner.ioctl(CoreIoctl.GEM_FLINK, handle=owner.bo(PAGE)).name
    assert program.ioctl(CoreIoctl.GEM_OPEN, name=name).size == PAGE
    owner.close()
    assert program.ioctl(CoreIoctl.GEM_OPEN, name=name).size == PAGE
    program.close()
    other = sandbox.open()
    assert other.errno(CoreIoctl.GEM_OPEN, name=name) == ENOENT
    assert function(sandbox).memory.count == 0


def create(program: Program, *entries: tuple[int, int], count: int | None = None, fd: int = -1, type_: int = BoType.SHARE) -> int:
    """CREATE_BO with a va_tbl: errno, and the handle is the next one."""
    table = uapi.VA_TABLE.pack(dmabuf_fd=fd, num_entries=len(entries) if count is None else count)
    buffer = ctypes.create_string_buffer(table + b"".join(struct.pack("<QQ", *entry) for entry in entries))
    return program.errno(Ioctl.CREATE_BO, vaddr=ctypes.addressof(buffer), type=type_)


def test_user_pages_are_checked_as_linux_does(program: Program) -> None:
    pages, sealed = Pages(4), Pages(1, mmap.PROT_READ)
    start = pages.address
    cases = [
        ([(start + 1, PAGE)], EINVAL, "alignment of vaddr"),
        ([(start, PAGE + 8)], EINVAL, "alignment of len"),
        ([(start, (1 << 64) - PAGE), (start, 2 * PAGE)], EINVAL, "check_add_overflow"),
        ([(0x10000000, PAGE)], EFAULT, "pin_user_pages_fast: first page"),
        ([(sealed.address, PAGE)], EFAULT, "pin_user_pages_fast: FOLL_WRITE"),
    ]
    for entries, number, why in cases:
        assert create(program, *entries) == number, why
    assert create(program, count=1 << 31) == ENOMEM, "kvzalloc"
    assert program.errno(Ioctl.CREATE_BO, vaddr=1, type=1) == EINVAL
    assert program.bo() == 1, "nothing was left behind"
    assert program.sandbox.service.hub.pinned._bytes == {}


def test_user_pages_count_against_the_lock_limit(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = Pages(4)
    monkeypatch.setattr(_user_memory, "capable", lambda pid, capability: False)
    monkeypatch.setattr(_user_memory, "lock_limit", lambda pid: 2 * PAGE)
    assert create(program, (pages.address, 3 * PAGE)) == ENOMEM
    monkeypatch.setattr(_user_memory, "lock_limit", lambda pid: 0)
    assert create(program, (pages.address, PAGE)) == EPERM, "can_do_mlock"


def test_lock_limit_is_the_process_s() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "import resource as r; r.setrlimit(r.RLIMIT_MEMLOCK, (65536, 65536)); print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    child.stdout.readline()
    assert _user_memory.lock_limit(child.pid) == 65536
    child.communicate(b"\n")
    assert resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] != 65536


def test_a_bo_over_user_pages(sandbox: Sandbox, program: Program) -> None:
    pages = Pages(4)
    # Two ranges of the program's memory, in another order, make one of the device's.
    assert create(program, (pages.address + 2 * PAGE, 2 * PAGE), (pages.address, PAGE)) == 0
    info = program.info(1)
    assert info.map_offset == info.vaddr == INVALID_ADDRESS
    space = sandbox.machine._host._die.functions()[sandbox.nodes[0]].space  # type: ignore[attr-defined]
    maps = [(address - info.xdna_addr, length) for address, length, _ in space.mappings() if address >= info.xdna_addr]
    assert maps == [(0, 2 * PAGE), (2 * PAGE, PAGE)]
    with pytest.raises(OSError, match="a program's own, which contexts reach"):
        space.read(info.xdna_addr, 1)
    assert program.errno(Ioctl.PRIME_HANDLE_TO_FD, handle=1) == EOPNOTSUPP, "private_buffer"
    assert program.errno(Ioctl.SYNC_BO, handle=1, size=PAGE) == EOPNOTSUPP
    qos = ctypes.create_string_buffer(24)
    assert program.errno(Ioctl.CREATE_HWCTX, qos_p=ctypes.addressof(qos), umq_bo=1, num_tiles=4) == ENOMEM, "no vmap"
    program.close()
    assert space.mappings() == [] or all(address != info.xdna_addr for address, _, _ in space.mappings())
    assert sandbox.service.hub.pinned._bytes == {}


def test_a_bo_over_an_export_is_private(sandbox: Sandbox, program: Program) -> None:
    fd = program.export(program.bo(2 * PAGE))
    other = sandbox.open()
    assert create(other, fd=fd, type_=BoType.CMD) == 0
    assert create(other, fd=-1) == EBADF
    assert create(other, fd=0) == EINVAL
    assert other.errno(Ioctl.PRIME_HANDLE_TO_FD, handle=1) == EOPNOTSUPP
    assert function(sandbox).clients[1].bo_usage == (2 * PAGE, 2 * PAGE), "type CMD is the runtime's own"
    os.close(fd)


class FullTable(FakeCall):
    """A caller whose descriptor table is full."""

    def add_fd(self, fd: int, cloexec: bool) -> int:
        raise OSError(24, "Too many open files")


def test_a_full_descriptor_table(host: Machine) -> None:
    with Sandbox(host, door=FullTable) as sandbox:
        program = sandbox.open()
        handle = program.bo()
        assert program.errno(Ioctl.PRIME_HANDLE_TO_FD, handle=handle) == 24
        program.close()
        assert len(sandbox.service.hub.tokens) == 0
        assert function(sandbox).memory.count == 0


def test_permissions_are_asked_of_the_thread(program: Program) -> None:
    if not os.geteuid():
        assert program.errno(Ioctl.SET_STATE) == EOPNOTSUPP
    else:
        assert program.errno(Ioctl.SET_STATE) == EACCES
