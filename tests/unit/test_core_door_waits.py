"""WAIT_CMD of registered contexts: served without the handler, with Linux 7.2's errnos, and ended by signals and removal."""

from __future__ import annotations

import errno
import os
import signal
import struct
from collections.abc import Iterator

import pytest
from _patience import eventually
from door_harness import NOOP, WAIT_CMD, Program

from fauxdna._core import Completions

CONTEXT = 3
AMD_WAIT_CMD = 3 << 30 | 16 << 16 | 0x64 << 8 | 0x49
"""``DRM_IOWR`` in AMD's own amdxdna_accel.h, which XRT is built with; Linux 7.2 has ``DRM_IOW``, and takes either."""
SOURCE = f"""
import struct
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.siginterrupt(signal.SIGUSR1, True)
f = node()
ioctl(f, {NOOP}); say("up")
for line in sys.stdin:
    context, timeout, sequence = map(int, line.split())
    argument = ctypes.create_string_buffer(struct.pack("<IIQ", context, timeout, sequence), 16)
    say(ioctl(f, {WAIT_CMD}, ctypes.addressof(argument) if context else 16))
"""


class Queue:
    """An unpadded queue header in a memfd and its vector (layout of Linux 7.2's ``struct host_queue_header``)."""

    def __init__(self) -> None:
        self.memory = os.memfd_create("queue")
        os.ftruncate(self.memory, 4096)
        os.pwrite(self.memory, struct.pack("<HHI", 0, 0, 32), 8)
        self.vector = os.eventfd(0, os.EFD_NONBLOCK)
        self.armed: list[bool] = []
        self.completions = Completions()
        self.id = self.completions.add(self.memory, 0, 4096, self.completions.add_vector(self.vector, self.armed.append))

    def complete(self, read: int, write: int) -> None:
        os.pwrite(self.memory, struct.pack("<Q", write), 0x10)
        os.pwrite(self.memory, struct.pack("<Q", read), 0)
        os.eventfd_write(self.vector, 1)

    def close(self) -> None:
        self.completions.close()
        os.close(self.memory)
        os.close(self.vector)


@pytest.fixture
def queue() -> Iterator[Queue]:
    queue = Queue()
    yield queue
    queue.close()


@pytest.fixture(params=[WAIT_CMD, AMD_WAIT_CMD], ids=["linux", "amd"])
def program(queue: Queue, request: pytest.FixtureRequest) -> Iterator[Program]:
    source = SOURCE.replace(str(int(WAIT_CMD)), str(request.param))
    assert str(request.param) in source
    with Program(source, completions=queue.completions) as program:
        assert program.line() == "up"
        program.door.register(program.handler.clients[0], CONTEXT, queue.id)
        yield program
        assert program.handler.count("call") == 1, "the handler was asked"


def ask(program: Program, context: int, timeout: int, sequence: int) -> None:
    assert program.process.stdin is not None
    program.process.stdin.write(f"{context} {timeout} {sequence}\n")
    program.process.stdin.flush()


def answer(program: Program, context: int, timeout: int, sequence: int) -> int:
    ask(program, context, timeout, sequence)
    return int(program.line())


def asleep(queue: Queue) -> None:
    """Until the program is in a wait: the queue's vector is armed for nobody else."""
    assert eventually(lambda: queue.armed[-1:] == [True])


def test_done_late_and_never(program: Program, queue: Queue) -> None:
    queue.complete(5, 6)
    assert answer(program, CONTEXT, 0, 4) == 0
    assert answer(program, CONTEXT, 5, 5) == errno.ETIME
    ask(program, CONTEXT, 0, 5)
    asleep(queue)
    queue.complete(6, 6)
    assert int(program.line()) == 0
    # The argument at address 16 can't be read.
    assert answer(program, 0, 0, 0) == errno.EFAULT


def test_a_signal_ends_a_wait(program: Program, queue: Queue) -> None:
    queue.complete(0, 1)
    ask(program, CONTEXT, 0, 0)
    asleep(queue)
    program.process.send_signal(signal.SIGUSR1)
    assert int(program.line()) == errno.EINTR
    # The wait was taken back: the next one is answered for itself.
    queue.complete(1, 1)
    assert answer(program, CONTEXT, 0, 0) == 0


def test_a_removed_queue_ends_a_wait(program: Program, queue: Queue) -> None:
    queue.complete(0, 1)
    ask(program, CONTEXT, 0, 0)
    asleep(queue)
    queue.completions.remove(queue.id)
    assert int(program.line()) == errno.EINVAL


def test_closing_the_door_ends_a_wait(program: Program, queue: Queue) -> None:
    queue.complete(0, 1)
    ask(program, CONTEXT, 0, 0)
    asleep(queue)
    program.door.close()
    assert int(program.line()) == errno.ENODEV


def test_a_killed_waiter_is_let_go_of(program: Program, queue: Queue) -> None:
    queue.complete(0, 1)
    ask(program, CONTEXT, 0, 0)
    asleep(queue)
    program.process.kill()
    handler = program.handler
    handler.wait_for(lambda: handler.count("ended") == 1)
    assert handler.count("closed") == 1
    queue.complete(1, 1)


def test_other_contexts_are_the_handlers(queue: Queue) -> None:
    with Program(SOURCE, completions=queue.completions) as program:
        handler = program.handler
        handler.answers[WAIT_CMD] = lambda call: call.reply(errno.EBADMSG)
        assert program.line() == "up"
        client = handler.clients[0]
        program.door.register(client, CONTEXT, queue.id)
        assert answer(program, CONTEXT + 1, 0, 0) == errno.EBADMSG
        program.door.forget(client, CONTEXT)
        assert answer(program, CONTEXT, 0, 0) == errno.EBADMSG
