"""Buffers of a node, through both doors."""

from __future__ import annotations

import errno
import gc
import mmap
import os

import numpy as np
import pytest
from _usage import grew, usage

from fauxdna.abi.uapi import MAP_OFFSET_BASE, BoType, DeviceType, SyncDirection
from fauxdna.accel import AccelFile
from fauxdna.accel.machine import Machine
from fauxdna.errors import FauxdnaError
from fauxdna.runtime import Tensor

PAGE = mmap.PAGESIZE


def refused(number: int) -> pytest.RaisesExc[FauxdnaError]:
    return pytest.RaisesExc(FauxdnaError, check=lambda error: error.errno == number)


def test_a_bo_is_zeroed_mapped_and_closed(file: AccelFile) -> None:
    handle = file.create_bo(PAGE + 1)
    assert handle == 1
    info = file.get_bo_info(handle)
    assert info.map_offset >= MAP_OFFSET_BASE
    assert info.xdna_addr >= 1 << 32
    memory = file.mmap(2 * PAGE, info.map_offset).memory
    assert memory[:] == bytes(2 * PAGE)
    file.gem_close(handle)
    with pytest.raises(FauxdnaError, match=r"GET_BO_INFO|not open") as caught:
        file.get_bo_info(handle)
    assert caught.value.errno == errno.ENOENT
    with refused(errno.EINVAL):
        file.gem_close(handle)


def test_what_linux_refuses(mapping_file: AccelFile) -> None:
    file = mapping_file
    bo = file.create_bo(PAGE)
    offset = file.get_bo_info(bo).map_offset
    with refused(errno.EINVAL):
        file.create_bo(PAGE, flags=1)
    with refused(errno.ENOSPC):
        file.create_bo(0)
    for kind in (BoType.INVALID, BoType.DEV_HEAP, BoType.DEV):
        with refused(errno.EINVAL):
            file.create_bo(PAGE, kind)
    with refused(errno.EINVAL):
        file.mmap(2 * PAGE, offset)
    with refused(errno.EINVAL):
        file.mmap(PAGE, offset + PAGE)
    with refused(errno.EINVAL):
        file.mmap(PAGE, 0x10000)
    with refused(errno.ENOENT):
        file.sync_bo(99, SyncDirection.TO_DEVICE, 0, PAGE)
    with refused(errno.EINVAL):
        file.sync_bo(bo, SyncDirection.TO_DEVICE, PAGE, 1)
    with refused(errno.EOPNOTSUPP):
        file.sync_bo(bo, SyncDirection.FROM_DEVICE, 0, PAGE)
    file.sync_bo(bo, SyncDirection.TO_DEVICE, 0, PAGE)


def test_mmap_offsets_are_not_reused_while_the_file_is_open(file: AccelFile) -> None:
    seen = set()
    for _ in range(20):
        handle = file.create_bo(3 * PAGE)
        offset = file.get_bo_info(handle).map_offset
        assert offset not in seen
        seen.add(offset)
        file.gem_close(handle)


def test_memory_outlives_its_handle_while_it_is_mapped(host: Machine) -> None:
    manager = host.find(DeviceType.UMQ).memory
    with host.open() as file:
        tensor = Tensor(file, (64,), np.float32)
        view = tensor.array
        view[:] = 7
        tensor.close()
        assert manager.count == 1
        assert view.sum() == 7 * 64
        del tensor, view
        gc.collect()
        assert manager.count == manager.mapped_bytes == 0


def test_export_and_import_between_files(host: Machine, mapping_file: AccelFile) -> None:
    file = mapping_file
    with host.open() as other:
        bo = file.create_bo(PAGE)
        mine = file.mmap(PAGE, file.get_bo_info(bo).map_offset).memory
        fd = file.prime_handle_to_fd(bo)
        imported = other.prime_fd_to_handle(fd)
        assert other.prime_fd_to_handle(fd) == imported
        assert other.get_bo_info(imported).xdna_addr == file.get_bo_info(bo).xdna_addr
        os.close(fd)
        theirs = other.mmap(PAGE, other.get_bo_info(imported).map_offset).memory
        mine[:5] = b"hello"
        file.gem_close(bo)
        assert theirs[:5] == b"hello"


def test_foreign_memory(mapping_file: AccelFile) -> None:
    file = mapping_file
    fd = os.memfd_create("foreign")
    os.ftruncate(fd, 2 * PAGE)
    os.pwrite(fd, b"theirs", 0)
    for make in (file.prime_fd_to_handle, file.create_bo_from_fd):
        handle = make(fd)
        assert file.mmap(PAGE, file.get_bo_info(handle).map_offset).memory[:6] == b"theirs"
        with refused(errno.EOPNOTSUPP):
            file.sync_bo(handle, SyncDirection.TO_DEVICE, 0, PAGE)
        if make == file.create_bo_from_fd:
            with refused(errno.EOPNOTSUPP):
                file.prime_handle_to_fd(handle)
        file.gem_close(handle)
    os.close(fd)
    with refused(errno.EBADF):
        file.prime_fd_to_handle(fd)


def test_open_files_do_not_see_each_other(host: Machine) -> None:
    with host.open() as a, host.open() as b:
        bo = a.create_bo(PAGE)
        with refused(errno.ENOENT):
            b.get_bo_info(bo)
        with refused(errno.EINVAL):
            b.mmap(PAGE, a.get_bo_info(bo).map_offset)


def test_nothing_leaks_over_1000_open_and_close_cycles(host: Machine) -> None:
    function = host.find(DeviceType.UMQ)

    def cycle() -> None:
        with host.open() as file:
            queue = file.create_bo(PAGE, BoType.CMD)
            file.mmap(PAGE, file.get_bo_info(queue).map_offset)
            context = file.create_hwctx(queue, 4)
            file.mmap(PAGE, context.umq_doorbell)

    cycle()
    before = usage()
    for _ in range(1000):
        cycle()
    assert not any(grew(before, usage))
    assert function.memory.count == function.memory.mapped_bytes == 0
    assert not function.clients
