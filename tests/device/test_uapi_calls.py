"""Calls of a program through the service: what comes back, and what the program sees in its own mappings."""

from __future__ import annotations

import ctypes
import errno
import os

from _uapi import Program, Sandbox

from fauxdna.abi.uapi import INVALID_ADDRESS, QUERY_AIE_METADATA, BoType, InfoParam, Ioctl


def test_version_tells_whole_lengths_and_fills_the_room_that_there_is(program: Program) -> None:
    name, description = ctypes.create_string_buffer(b"." * 32), ctypes.create_string_buffer(b"." * 32)
    reply = program.ioctl(
        Ioctl.VERSION, name=ctypes.addressof(name), name_len=7, desc=ctypes.addressof(description), desc_len=32, date_len=9
    )
    assert (reply.version_major, reply.version_minor, reply.version_patchlevel) == (0, 10, 0)
    assert name.raw[:8] == b"amdxdna."
    assert (reply.name_len, reply.date_len, reply.desc_len) == (20, 1, 27)
    assert description.raw[:28] == b"AMD XDNA DRM implementation."


def test_a_bo_is_memory_of_the_program_and_of_the_device(program: Program, sandbox: Sandbox) -> None:
    handle = program.bo(5000, BoType.CMD)
    first = program.info(handle)
    assert first.vaddr == INVALID_ADDRESS, "nobody has mapped it"
    assert first.map_offset >= 1 << 32
    memory = program.mmap(first.map_offset, 8192)
    assert memory[:] == bytes(8192)
    memory[4096:4100] = b"seen"
    function = sandbox.machine.nodes[sandbox.nodes[0]]
    # The driver's own view of what the device reaches there.
    bo = function.clients[0].bo(handle)
    assert (bo.address, bo.size) == (first.xdna_addr, 8192)
    assert os.pread(bo.backing.fd, 4, bo.backing.offset + 4096) == b"seen"
    # This process maps it twice, as the program and as the device's owner: either is where it is mapped. That a program finds its
    # own is a test of sandboxes.
    assert ctypes.string_at(program.info(handle).vaddr + 4096, 4) == b"seen"


def test_a_context_has_a_doorbell_and_ends(program: Program) -> None:
    queue = program.bo(8192, BoType.CMD)
    context = program.context(queue)
    assert context.handle == 1
    assert context.umq_doorbell % 4096 == 0
    assert 0 < context.umq_doorbell < 1 << 32
    assert context.syncobj_handle == 0
    assert program.errno(Ioctl.WAIT_CMD, hwctx=context.handle, seq=0, timeout=20) == errno.ETIME
    program.ioctl(Ioctl.DESTROY_HWCTX, handle=context.handle)
    assert program.errno(Ioctl.WAIT_CMD, hwctx=context.handle, seq=0, timeout=20) == errno.EINVAL


def test_metadata(program: Program) -> None:
    buffer = ctypes.create_string_buffer(b"\xff" * 80)
    program.ioctl(Ioctl.GET_INFO, param=InfoParam.AIE_METADATA, buffer_size=80, buffer=ctypes.addressof(buffer))
    metadata = QUERY_AIE_METADATA.unpack(buffer.raw)
    assert (metadata.cols, metadata.core_row_count, metadata.mem_row_count, metadata.shim_row_count) == (3, 4, 1, 1)
    assert buffer.raw[64:80] == b"\xff" * 16


def test_an_exported_bo_is_imported_with_another_address_and_the_same_memory(sandbox: Sandbox) -> None:
    exporter, importer = sandbox.open(), sandbox.open()
    handle = exporter.bo(8192)
    fd = exporter.export(handle)
    assert os.lseek(fd, 0, os.SEEK_END) == os.fstat(fd).st_size == 8192
    imported = importer.import_(fd)
    assert importer.import_(fd) == imported, "one handle for one object in a file"
    assert exporter.import_(fd) == handle, "its own export is its own object"
    os.close(fd)
    mine, theirs = exporter.info(handle), importer.info(imported)
    assert mine.xdna_addr != theirs.xdna_addr
    exporter.mmap(mine.map_offset, 8192)[:5] = b"hello"
    exporter.close()
    assert importer.mmap(theirs.map_offset, 8192)[:5] == b"hello"
    importer.close()
    assert len(sandbox.service.hub.tokens) == 0


def test_a_closed_file_frees_everything(sandbox: Sandbox) -> None:
    program = sandbox.open()
    queue = program.bo(8192, BoType.CMD)
    program.context(queue)
    memory = program.map_bo(program.bo(1 << 20), 1 << 20)
    memory[:] = b"x" * (1 << 20)
    used = os.fstat(sandbox.files[0]).st_blocks
    function = sandbox.machine.nodes[sandbox.nodes[0]]
    memory.close()
    program.close()
    assert function.memory.count == 0
    assert not function.clients
    assert os.fstat(sandbox.files[0]).st_blocks <= used - (1 << 20) // 512
