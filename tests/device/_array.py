"""Runs a generated ELF on the core, with nothing above the host queue: memory, an engine, patched control code, one packet."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from _patience import PATIENCE_US

from fauxdna._core import AddressSpace, Engine, HostQueue, Interrupts
from fauxdna.abi import host_queue
from fauxdna.artifact import elf
from fauxdna.compiler.codegen import Generated

PAGE = 4096
BASE = 0x2_0000_0000
QUEUE = 0x10000
COMPLETED = int(host_queue.CompletionState.COMPLETED)
CYCLES_MAX = 100_000_000
"""More than any test needs, less than a poll's patience."""
GUARD = 0x5A
"""Bytes around arguments, which nothing may change."""

Bytes = npt.NDArray[np.uint8]


class Machine:
    """A program in memory, on columns of its own."""

    def __init__(self, generated: Generated, sizes: Sequence[int]) -> None:
        """``sizes``: bytes of each input and output."""
        parsed = elf.parse(generated.elf)
        kernel = parsed.kernel()
        parts = [*sizes, generated.workspace, len(kernel.code), *(len(data) for data in kernel.constants.values())]
        self.offsets, at = [], QUEUE
        for size in parts:
            self.offsets.append(at)
            at += -(-(size + 1) // PAGE) * PAGE
        self._memory = os.memfd_create("memory")
        self._doorbell = os.memfd_create("doorbell")
        os.ftruncate(self._memory, at)
        os.ftruncate(self._doorbell, PAGE)
        self.space = AddressSpace()
        self.space.map(BASE, self._memory, 0, at, 3)
        self._sizes = parts
        code = bytearray(kernel.code)
        patcher = elf.Patcher(kernel, code)
        for index in range(len(sizes) + 1):
            patcher.bind(str(index), BASE + self.offsets[index])
        code_at = self.offsets[len(sizes) + 1]
        for place, (symbol, data) in zip(self.offsets[len(sizes) + 2 :], kernel.constants.items(), strict=True):
            os.pwrite(self._memory, data, place)
            patcher.bind(symbol, BASE + place)
        os.pwrite(self._memory, code, code_at)
        self._code = [(part.uc, BASE + code_at + part.offset) for part in kernel.ranges]
        self.engine = Engine(3)
        self.context = self.engine.create_context(
            self.space,
            queue_address=BASE,
            column=0,
            columns=generated.columns,
            doorbell_fd=self._doorbell,
            doorbell_offset=0,
            interrupts=Interrupts(1),
            vector=0,
        )
        self.queue = HostQueue(self._memory, 0, BASE, QUEUE, self._doorbell, 0, kick_fd=self.engine.kick_fd)

    def put(self, argument: int, data: bytes) -> None:
        """Fills an argument; what is left of its pages becomes the guard pattern."""
        size = -(-(self._sizes[argument] + 1) // PAGE) * PAGE
        os.pwrite(self._memory, data.ljust(size, bytes([GUARD])), self.offsets[argument])

    def get(self, argument: int) -> bytes:
        """An argument's bytes; fails the test if its guard changed."""
        size = self._sizes[argument]
        whole = os.pread(self._memory, -(-(size + 1) // PAGE) * PAGE, self.offsets[argument])
        assert not whole[size:].strip(bytes([GUARD])), f"bytes behind argument {argument} were written"
        return whole[:size]

    def run(self) -> None:
        """One packet; fails the test unless it completes."""
        sequence = self.queue.submit(self._code)
        word = self.queue.spin(sequence, PATIENCE_US)
        assert word == COMPLETED, f"completion {word:#x}: {self.engine.context_state(self.context)['message']}"
        last = self.engine.report(self.context)["last"]
        assert isinstance(last, dict)
        cycles = last["cycles"]
        assert cycles < CYCLES_MAX, f"{cycles} cycles: something waited for a deadline"

    def close(self) -> None:
        """Ends the engine."""
        self.engine.close()
        os.close(self._memory)
        os.close(self._doorbell)


@contextmanager
def machine(generated: Generated, sizes: Sequence[int]) -> Iterator[Machine]:
    """A machine that ends with the block."""
    made = Machine(generated, sizes)
    try:
        yield made
    finally:
        made.close()


def execute(generated: Generated, inputs: Sequence[bytes], outputs: Sequence[int]) -> list[bytes]:
    """Runs twice with the inputs; answers the outputs (of the given sizes), which must be the same both times.

    A transfer is of whole words, so an output's last word may be written beyond its last element.
    """
    sizes = [*(len(data) for data in inputs), *(-(-size // 4) * 4 for size in outputs)]
    with machine(generated, sizes) as made:
        results = []
        for _ in range(2):
            for index, data in enumerate(inputs):
                made.put(index, data)
            for index, size in enumerate(outputs):
                made.put(len(inputs) + index, bytes([0xEE]) * (-(-size // 4) * 4))
            made.run()
            results.append([made.get(len(inputs) + index)[:size] for index, size in enumerate(outputs)])
        assert results[0] == results[1], "a second run gives other bytes: a stage leaves locks or tasks behind"
        return results[0]
