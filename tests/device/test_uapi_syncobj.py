"""Sync objects: timelines, transfers, descriptors, eventfds, and waits that outlast their ioctl's first look."""

from __future__ import annotations

import ctypes
import os
import select
import struct
import time
from errno import EINVAL, ENODEV, ENOENT, ETIME

import pytest
from _patience import PATIENCE, eventually
from _uapi import FakeCall, Program, Sandbox
from _usage import descriptors, grew

from fauxdna.abi import drm
from fauxdna.abi.drm import CoreIoctl, SyncobjFd, SyncobjWait
from fauxdna.accel.machine import Machine

NEVER = (1 << 63) - 1


class Array:
    """Handles, and points, in the program's memory."""

    def __init__(self, *handles: int, points: tuple[int, ...] = ()) -> None:
        self._handles = ctypes.create_string_buffer(struct.pack(f"<{len(handles)}I", *handles))
        self._points = (ctypes.c_uint64 * max(1, len(handles)))(*points)
        self.handles = ctypes.addressof(self._handles)
        self.points_p = ctypes.addressof(self._points)
        self.count = len(handles)

    @property
    def points(self) -> list[int]:
        return list(self._points)


def new(program: Program, signalled: bool = False) -> int:
    return program.ioctl(CoreIoctl.SYNCOBJ_CREATE, flags=int(signalled)).handle


def signal(program: Program, handle: int, point: int = 0) -> None:
    if not point:
        array = Array(handle)
        program.ioctl(CoreIoctl.SYNCOBJ_SIGNAL, handles=array.handles, count_handles=1)
        return
    array = Array(handle, points=(point,))
    program.ioctl(CoreIoctl.SYNCOBJ_TIMELINE_SIGNAL, handles=array.handles, points=array.points_p, count_handles=1)


def reset(program: Program, handle: int) -> None:
    array = Array(handle)
    program.ioctl(CoreIoctl.SYNCOBJ_RESET, handles=array.handles, count_handles=1)


def point(program: Program, handle: int) -> int:
    array = Array(handle)
    program.ioctl(CoreIoctl.SYNCOBJ_QUERY, handles=array.handles, points=array.points_p, count_handles=1)
    return array.points[0]


def wait(program: Program, handle: int, at: int = 0, flags: int = 0, timeout: int = 0) -> int:
    array = Array(handle, points=(at,))
    return program.errno(
        CoreIoctl.SYNCOBJ_TIMELINE_WAIT,
        handles=array.handles,
        points=array.points_p,
        count_handles=1,
        flags=flags,
        timeout_nsec=timeout,
    )


class Waiting:
    """A wait that was begun."""

    def __init__(self, program: Program, *handles: int, points: tuple[int, ...] = (), flags: int, timeout: int = NEVER) -> None:
        self.array = Array(*handles, points=points)
        self.structure = drm.SYNCOBJ_TIMELINE_WAIT
        self.argument = ctypes.create_string_buffer(
            self.structure.pack(
                handles=self.array.handles,
                points=self.array.points_p,
                count_handles=self.array.count,
                flags=flags,
                timeout_nsec=timeout,
            ),
            self.structure.size,
        )
        self.call: FakeCall = program.start(CoreIoctl.SYNCOBJ_TIMELINE_WAIT, ctypes.addressof(self.argument))

    def end(self, seconds: float = PATIENCE) -> int:
        assert self.call.ended.wait(seconds), "it still waits"
        assert self.call.error is not None
        return self.call.error

    @property
    def first(self) -> int:
        return self.structure.unpack(self.argument.raw).first_signaled


def test_handles_start_at_1_and_are_used_again(program: Program) -> None:
    assert [new(program) for _ in range(3)] == [1, 2, 3]
    program.ioctl(CoreIoctl.SYNCOBJ_DESTROY, handle=2)
    assert [new(program), new(program)] == [2, 4]


def test_a_timeline_goes_up_and_not_down(program: Program) -> None:
    """dma_fence_chain_init takes the larger of two points."""
    handle = new(program)
    assert point(program, handle) == 0
    signal(program, handle, 7)
    signal(program, handle, 3)
    assert point(program, handle) == 7
    assert wait(program, handle, 7) == 0
    assert wait(program, handle, 8) == EINVAL
    assert wait(program, handle, 8, SyncobjWait.FOR_SUBMIT) == ETIME
    signal(program, handle)
    assert point(program, handle) == 0, "a plain fence is no timeline"
    assert wait(program, handle, 1) == EINVAL
    assert wait(program, handle) == 0
    reset(program, handle)
    assert wait(program, handle) == EINVAL


def test_a_wait_ends_with_its_signal(program: Program) -> None:
    a, b = new(program), new(program)
    waiting = Waiting(program, a, b, points=(0, 5), flags=SyncobjWait.FOR_SUBMIT)
    time.sleep(0.05)
    assert not waiting.call.ended.is_set()
    signal(program, b, 4)
    assert not waiting.call.ended.is_set()
    signal(program, b, 5)
    assert waiting.end() == 0
    assert waiting.first == 1


def test_a_wait_for_all_needs_all_and_remembers_what_came(program: Program) -> None:
    a, b, c = new(program), new(program), new(program, signalled=True)
    waiting = Waiting(program, c, a, b, points=(0, 0, 0), flags=SyncobjWait.FOR_SUBMIT | SyncobjWait.ALL)
    signal(program, a)
    reset(program, a)
    assert not waiting.call.ended.is_set()
    signal(program, b)
    assert waiting.end() == 0
    assert waiting.first == 0


def test_a_wait_ends_in_time(program: Program) -> None:
    handle = new(program)
    began = time.monotonic()
    assert wait(program, handle, 0, SyncobjWait.FOR_SUBMIT, time.monotonic_ns() + 50_000_000) == ETIME
    assert time.monotonic() - began >= 0.05


def test_a_wait_whose_caller_was_killed_is_forgotten(sandbox: Sandbox, program: Program) -> None:
    waits = [Waiting(program, new(program), points=(1,), flags=SyncobjWait.FOR_SUBMIT) for _ in range(10)]
    for waiting in waits:
        waiting.call.alive = False
    assert eventually(lambda: not len(sandbox.service.hub.waits))


def test_a_wait_whose_caller_has_a_signal_ends(sandbox: Sandbox, program: Program) -> None:
    """drm_syncobj_array_wait_timeout: signal_pending. The door answers ERESTARTSYS and tells."""
    waiting = Waiting(program, new(program), points=(1,), flags=SyncobjWait.FOR_SUBMIT)
    assert waiting.call.interrupted is not None
    waiting.call.interrupted()
    assert eventually(lambda: not len(sandbox.service.hub.waits))


def test_closing_the_service_ends_waits(host: Machine) -> None:
    with Sandbox(host) as sandbox:
        program = sandbox.open()
        waiting = Waiting(program, new(program), points=(1,), flags=SyncobjWait.FOR_SUBMIT)
    assert waiting.end() == ENODEV


def test_a_syncobj_is_shared_by_descriptor(sandbox: Sandbox, program: Program) -> None:
    handle, other = new(program), sandbox.open()
    fd = program.ioctl(CoreIoctl.SYNCOBJ_HANDLE_TO_FD, handle=handle).fd
    twice = [other.ioctl(CoreIoctl.SYNCOBJ_FD_TO_HANDLE, fd=fd).handle for _ in range(2)]
    assert twice == [1, 2], "a new handle each time"
    assert other.errno(CoreIoctl.SYNCOBJ_FD_TO_HANDLE, fd=fd, flags=SyncobjFd.SYNC_FILE, handle=1) == EINVAL
    program.close()
    signal(other, 1, 9)
    assert point(other, 2) == 9
    os.close(fd)


def test_a_sync_file_is_a_snapshot_that_polls_ready(sandbox: Sandbox, program: Program) -> None:
    handle = new(program)
    signal(program, handle, 4)
    fd = program.ioctl(CoreIoctl.SYNCOBJ_HANDLE_TO_FD, handle=handle, flags=SyncobjFd.SYNC_FILE | SyncobjFd.TIMELINE, point=4).fd
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    assert poller.poll(0)
    other = sandbox.open()
    target = new(other)
    assert other.errno(CoreIoctl.SYNCOBJ_FD_TO_HANDLE, fd=fd, flags=SyncobjFd.SYNC_FILE, handle=99) == ENOENT
    other.ioctl(CoreIoctl.SYNCOBJ_FD_TO_HANDLE, fd=fd, flags=SyncobjFd.SYNC_FILE, handle=target)
    assert wait(other, target) == 0
    other.ioctl(CoreIoctl.SYNCOBJ_FD_TO_HANDLE, fd=fd, flags=SyncobjFd.SYNC_FILE | SyncobjFd.TIMELINE, handle=target, point=12)
    assert point(other, target) == 12
    assert other.errno(CoreIoctl.SYNCOBJ_FD_TO_HANDLE, fd=fd) == EINVAL, "no syncobj"
    os.close(fd)
    sandbox.service.hub.tokens.sweep()
    assert len(sandbox.service.hub.tokens) == 0


def test_a_transfer_waits_for_its_source(program: Program) -> None:
    source, target = new(program), new(program)
    argument = ctypes.create_string_buffer(
        drm.SYNCOBJ_TRANSFER.pack(src_handle=source, dst_handle=target, src_point=2, dst_point=8, flags=SyncobjWait.FOR_SUBMIT)
    )
    call = program.start(CoreIoctl.SYNCOBJ_TRANSFER, ctypes.addressof(argument))
    assert not call.ended.wait(0.02)
    signal(program, source, 2)
    assert call.ended.wait(PATIENCE)
    assert call.error == 0
    assert point(program, target) == 8


def test_an_eventfd_is_signalled_once(program: Program) -> None:
    handle = new(program)
    event = os.eventfd(0, os.EFD_NONBLOCK)
    program.ioctl(CoreIoctl.SYNCOBJ_EVENTFD, handle=handle, fd=event, point=3)
    signal(program, handle, 2)
    with pytest.raises(BlockingIOError):
        os.eventfd_read(event)
    signal(program, handle, 3)
    signal(program, handle, 4)
    assert os.eventfd_read(event) == 1
    program.ioctl(CoreIoctl.SYNCOBJ_EVENTFD, handle=handle, fd=event, point=4)
    assert os.eventfd_read(event) == 1, "it was reached already"
    os.close(event)


def test_a_full_blocking_eventfd_holds_nobody_up(program: Program) -> None:
    handle = new(program)
    event = os.eventfd((1 << 32) - 1)
    os.eventfd_write(event, (1 << 64) - 2 - ((1 << 32) - 1))
    program.ioctl(CoreIoctl.SYNCOBJ_EVENTFD, handle=handle, fd=event)
    signal(program, handle)
    assert wait(program, handle) == 0
    os.eventfd_read(event)
    os.close(event)


def test_no_growth(sandbox: Sandbox) -> None:
    def once() -> None:
        program = sandbox.open()
        handle = new(program)
        fd = program.ioctl(CoreIoctl.SYNCOBJ_HANDLE_TO_FD, handle=handle).fd
        os.close(fd)
        event = os.eventfd(0)
        program.ioctl(CoreIoctl.SYNCOBJ_EVENTFD, handle=handle, fd=event, point=1)
        signal(program, handle, 1)
        os.close(event)
        program.close()

    before = (descriptors(),)
    for _ in range(200):
        once()
    sandbox.service.hub.tokens.sweep()
    assert not any(grew(before, lambda: (descriptors(),)))
