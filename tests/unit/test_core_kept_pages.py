"""Contexts that wait for memory of a program that keeps it: they alone wait, and their end waits for nobody."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from _kept_pages import Kept, kept_pages, needs_fuse
from _patience import eventually
from core_harness import BASE, CODE, EMPTY, SIZE, Client, Function, die
from test_core_engine_life import engine_threads

from fauxdna._core import AddressSpace, Engine
from fauxdna.abi.host_queue import CompletionState

COMPLETED = int(CompletionState.COMPLETED)
PAGES = 2
KEPT = BASE + SIZE
"""Device address of the program's pages."""
MOST_IDLE = 3
"""Threads of an engine when none waits for a program: the one that works, and two in reserve."""
STRAYS = 16
"""Accesses of one program's memory that may be left to themselves."""

pytestmark = needs_fuse


class EngineThreads:
    """Of engines that are made from now on: one that another test left to the collector may still have its own."""

    def __init__(self) -> None:
        self._before = set(engine_threads())

    def __len__(self) -> int:
        return len(set(engine_threads()) - self._before)


@pytest.fixture
def threads() -> EngineThreads:
    """Made before the test makes an engine."""
    return EngineThreads()


class Waiting(Client):
    """A client whose control code lies in pages that are kept."""

    def __init__(self, engine: Engine, kept: Kept) -> None:
        function = Function()
        function.space.map(KEPT, kept.memory, kept.address, kept.length, 3)
        super().__init__(engine, function)
        assert self.run() == COMPLETED, "code in a BO"
        self.until("completed", 1)
        self.sequence = self.queue.submit([(0, KEPT)])
        self.until("state", "running")

    def end(self) -> None:
        """Context and memory are given back."""
        self.engine.destroy_context(self.context)
        assert self.function.space.unmap(BASE, 1 << 40) == SIZE + PAGES * 4096
        self.function.close()


@contextmanager
def scene() -> Iterator[tuple[Engine, Client, Kept]]:
    """A die, a client on it that keeps nothing, and a program that does."""
    with kept_pages(PAGES) as kept, die() as (engine, function):
        yield engine, Client(engine, function), kept


def test_other_contexts_complete_packets_and_the_one_that_waited_goes_on(threads: EngineThreads) -> None:
    with scene() as (engine, other, kept):
        waiting = Waiting(engine, kept)
        for _ in range(100):
            assert other.run() == COMPLETED
        state = waiting.state
        assert (state["state"], state["completed"]) == ("running", 1)
        assert waiting.queue.completion(waiting.sequence) == 0
        engine.set_force_preempt(waiting.context, True)
        with pytest.raises(OSError, match="waits for memory of its program") as caught:
            engine.report(waiting.context)
        assert caught.value.errno == errno.EBUSY
        kept.answer()
        # Pages full of 1 are no control code; the context says so, and runs what is.
        assert waiting.wait(waiting.sequence) & 0xF == CompletionState.ERROR
        os.pwrite(kept.memory, EMPTY, kept.address)
        assert waiting.run((0, KEPT)) == COMPLETED
        assert (waiting.state["completed"], waiting.state["errors"]) == (2, 1)
        assert other.run() == COMPLETED
        waiting.end()
        assert eventually(lambda: len(threads) <= MOST_IDLE)


def test_a_context_that_waits_is_destroyed_and_its_memory_unmapped(threads: EngineThreads) -> None:
    with scene() as (engine, other, kept):
        for _ in range(3):
            waiting = Waiting(engine, kept)
            waiting.end()
            with pytest.raises(OSError, match="does not exist"):
                _ = waiting.state
            assert other.run() == COMPLETED
        assert len(threads) >= 4, "each waits on"
        kept.answer()
        assert eventually(lambda: len(threads) <= MOST_IDLE)
        assert other.run() == COMPLETED


def test_the_program_is_killed_while_its_context_waits(threads: EngineThreads) -> None:
    with kept_pages(PAGES) as kept, die() as (engine, function):
        other = Client(engine, function)
        waiting = Waiting(engine, kept)
        os.kill(kept.pid, 9)
        assert other.run() == COMPLETED
        waiting.end()
        assert other.run() == COMPLETED
        kept.answer()
        assert eventually(lambda: len(threads) <= MOST_IDLE)


def test_an_engine_closes_while_a_context_waits(threads: EngineThreads) -> None:
    with kept_pages(PAGES) as kept:
        engine = Engine(3)
        Waiting(engine, kept)
        engine.close()
        assert len(threads) == 1, "the one that waits"
        kept.answer()
        assert eventually(lambda: not len(threads))


def test_a_program_that_keeps_its_pages_again_and_again_is_refused_them(threads: EngineThreads) -> None:
    with scene() as (engine, other, kept):
        function = Function()
        function.space.map(KEPT, kept.memory, kept.address, kept.length, 3)
        for _ in range(STRAYS):
            client = Client(engine, function)
            client.queue.submit([(0, KEPT)])
            client.until("state", "running")
            engine.destroy_context(client.context)
            os.pwrite(function.memory, bytes(CODE), 0)
        last = Client(engine, function)
        assert last.run((0, KEPT)) & 0xF == CompletionState.ERROR
        assert "kept from the device too often" in str(last.state["message"])
        assert len(threads) <= STRAYS + MOST_IDLE
        assert other.run() == COMPLETED
        kept.answer()
        assert eventually(lambda: len(threads) <= MOST_IDLE)
        os.pwrite(kept.memory, EMPTY, kept.address)
        assert last.run((0, KEPT)) == COMPLETED
        function.close()


def test_firmware_and_unmapping_beside_an_access_that_waits() -> None:
    with scene() as (engine, _, kept):
        waiting = Waiting(engine, kept)
        space: AddressSpace = waiting.function.space
        with pytest.raises(OSError, match="firmware does not") as caught:
            space.read(KEPT, 4)
        assert caught.value.errno == errno.EFAULT
        done = threading.Event()

        def changes() -> None:
            space.map(KEPT + (1 << 20), waiting.function.memory, 0, 4096, 3)
            space.unmap(KEPT + (1 << 20), 4096)
            done.set()

        threading.Thread(target=changes).start()
        assert space.unmap(KEPT, kept.length) == kept.length
        assert done.wait(60)
        engine.destroy_context(waiting.context)
        kept.answer()
