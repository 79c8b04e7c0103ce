"""A die without its Python half: one function's memory, an engine, and control code written by hand."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from _patience import PATIENCE_US, eventually

from fauxdna._core import AddressSpace, Engine, HostQueue, Interrupts
from fauxdna.abi import control_code, host_queue

PAGE = 4096
BASE = 0x4_0000_0000
"""Device address of the memory; above 32 bits, so that high words matter."""
CODE = 0x10000
SIZE = 0x40000


def page(*words: bytes, number: int = 0, length: int | None = None, next_length: int = 0) -> bytes:
    """A control-code page that holds ``words``."""
    body = b"".join(words)
    header = control_code.PAGE_HEADER.pack(
        magic=control_code.PAGE_MAGIC,
        page=number,
        length=len(body) + 16 if length is None else length,
        next_length=next_length,
    )
    return (header + body).ljust(control_code.PAGE_SIZE, bytes([control_code.FILLER]))


def job(*instructions: bytes, number: int = 0) -> bytes:
    """START_JOB, the instructions, END_JOB."""
    body = b"".join(instructions)
    start = struct.pack("<BBHHH", control_code.Opcode.START_JOB, 0, number, 8 + len(body) + 4, 0)
    return start + body + struct.pack("<I", control_code.Opcode.END_JOB)


EOF_CODE = struct.pack("<BBH", control_code.Opcode.EOF, 0, 0)
EMPTY = page(job(), EOF_CODE)
"""One page with one empty job."""


class Function:
    """One function's memory, vectors and doorbell pages."""

    def __init__(self) -> None:
        self.memory = os.memfd_create("function memory")
        os.ftruncate(self.memory, SIZE)
        self.doorbells = os.memfd_create("doorbells")
        os.ftruncate(self.doorbells, 16 * PAGE)
        self.space = AddressSpace()
        self.space.map(BASE, self.memory, 0, SIZE, 3)
        self.vector = os.eventfd(0, os.EFD_NONBLOCK)
        self.interrupts = Interrupts(4)
        self.interrupts.set(1, self.vector)
        self.code(0, EMPTY)

    def code(self, slot: int, pages: bytes) -> int:
        """Puts control code into memory and gives its device address."""
        os.pwrite(self.memory, pages, CODE + slot * control_code.PAGE_SIZE)
        return BASE + CODE + slot * control_code.PAGE_SIZE

    def header(self, layout: str = "padded") -> dict[str, int]:
        """The queue header as it is in memory."""
        form = host_queue.HEADER_PADDED if layout == "padded" else host_queue.HEADER_UNPADDED
        return dict(form.unpack(os.pread(self.memory, form.size, 0)))

    def close(self) -> None:
        """Closes the descriptors."""
        for fd in (self.memory, self.doorbells, self.vector):
            os.close(fd)


class Client:
    """A context and its queue."""

    def __init__(
        self, engine: Engine, function: Function, *, layout: str = "padded", doorbell: int = 0, columns: int = 3
    ) -> None:
        self.function = function
        self.engine = engine
        self.context = engine.create_context(
            function.space,
            queue_address=BASE,
            column=0,
            columns=columns,
            doorbell_fd=function.doorbells,
            doorbell_offset=doorbell * PAGE,
            interrupts=function.interrupts,
            vector=1,
        )
        self.queue = HostQueue(
            function.memory,
            0,
            BASE,
            CODE,
            function.doorbells,
            doorbell * PAGE,
            layout=layout,
            kick_fd=engine.kick_fd,
        )

    def run(self, *code: tuple[int, int]) -> int:
        """Submits and waits; the completion word."""
        return self.wait(self.queue.submit(code or [(0, BASE + CODE)]))

    def wait(self, sequence: int) -> int:
        """The completion word; fails the test when it does not come."""
        word = self.queue.spin(sequence, PATIENCE_US)
        assert word, f"packet {sequence} did not complete: {self.state}"
        return word

    @property
    def state(self) -> dict[str, object]:
        """The context's state."""
        return self.engine.context_state(self.context)

    def until(self, key: str, value: object) -> None:
        """Waits until the context's state says so."""
        assert eventually(lambda: self.state[key] == value), f"{key} is not {value!r}: {self.state}"


@contextmanager
def die(pace: str = "fast", *, mirror: bool = True) -> Iterator[tuple[Engine, Function]]:
    """An engine and a function; everything ends with the block."""
    engine = Engine(3, pace=pace, mirror=mirror)
    function = Function()
    try:
        yield engine, function
    finally:
        engine.close()
        function.close()
