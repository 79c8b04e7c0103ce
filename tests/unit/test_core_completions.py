"""Waits over a queue that the test plays: Linux 7.2's WAIT_CMD rules, hostile indices, masks, removal."""

from __future__ import annotations

import errno
import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from _patience import PATIENCE, eventually

from fauxdna._core import Completions

FOREVER = 0


class Queue:
    """A queue's header in a memfd, and a vector that the device raises with :meth:`complete`."""

    def __init__(self, major: int = 0) -> None:
        self.write_at = 0x40 if major == 1 else 0x10
        self.memory = os.memfd_create("queue")
        os.ftruncate(self.memory, 4096)
        self.put(8, "<HHI", major, 0, 32)
        self.vector = os.eventfd(0, os.EFD_NONBLOCK)
        self.armed: list[bool] = []
        self.completions = Completions()
        self.vector_id = self.completions.add_vector(self.vector, self.armed.append)
        self.id = self.completions.add(self.memory, 0, 4096, self.vector_id)

    def put(self, offset: int, form: str, *values: int) -> None:
        os.pwrite(self.memory, struct.pack(form, *values), offset)

    def indices(self, read: int, write: int) -> None:
        self.put(self.write_at, "<Q", write)
        self.put(0, "<Q", read)

    def complete(self, read: int, write: int) -> None:
        self.indices(read, write)
        os.eventfd_write(self.vector, 1)

    def close(self) -> None:
        self.completions.close()
        os.close(self.memory)
        os.close(self.vector)


@pytest.fixture(params=[0, 1], ids=["unpadded", "padded"])
def queue(request: pytest.FixtureRequest) -> Iterator[Queue]:
    queue = Queue(request.param)
    yield queue
    queue.close()


def once_asleep(queue: Queue, call: Callable[[], object]) -> threading.Thread:
    """Calls when somebody sleeps until an interrupt: the vector is armed for nobody else."""

    def run() -> None:
        if eventually(lambda: queue.armed[-1:] == [True]):
            call()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_command_is_done_when_read_index_has_passed_it(queue: Queue) -> None:
    queue.indices(5, 6)
    assert queue.completions.wait(queue.id, 4, FOREVER)
    assert queue.completions.indices(queue.id) == (5, 6)
    assert not queue.completions.wait(queue.id, 5, 5)
    assert not queue.completions.wait(queue.id, 2**64 - 1, 5), "never submitted: ETIME, no error"


def test_an_interrupt_wakes_the_sleeper(queue: Queue) -> None:
    queue.indices(0, 1)
    thread = once_asleep(queue, lambda: queue.complete(1, 1))
    assert queue.completions.wait(queue.id, 0, FOREVER)
    thread.join()
    assert eventually(lambda: queue.armed[-1] is False), "still armed"


def test_the_deadline_looks_once_more(queue: Queue) -> None:
    queue.indices(0, 1)
    over = threading.Event()
    done_at: list[float] = []

    def complete() -> None:
        eventually(lambda: queue.armed or over.is_set())
        queue.indices(1, 1)
        done_at.append(time.monotonic())

    thread = threading.Thread(target=complete)
    thread.start()
    began = time.monotonic()
    done = queue.completions.wait(queue.id, 0, 500)
    over.set()
    thread.join()
    # On a machine that is very busy, the command itself may have been late.
    assert done or done_at[0] > began + 0.5, "done without an interrupt, before the time is up"


@pytest.mark.parametrize(("read", "write"), [(10, 9), (1, 34), (2**32, 3), (2**64 - 1, 0)])
def test_indices_that_do_not_fit_are_not_done(queue: Queue, read: int, write: int) -> None:
    """``valid_queue_index``: write >= read, and at most CTX_MAX_CMDS (32) apart; else read_index counts as 0."""
    queue.indices(read, write)
    assert not queue.completions.wait(queue.id, 0, 5)


@pytest.mark.parametrize(
    ("remove", "number"),
    [
        (lambda queue: queue.completions.remove(queue.id), errno.EINVAL),
        (lambda queue: queue.completions.remove_vector(queue.vector_id), errno.ENODEV),
    ],
    ids=["queue", "vector"],
)
def test_removal_ends_waits(queue: Queue, remove: Callable[[Queue], object], number: int) -> None:
    thread = once_asleep(queue, lambda: remove(queue))
    with pytest.raises(OSError, match="while someone waited") as raised:
        queue.completions.wait(queue.id, 7, FOREVER)
    assert raised.value.errno == number
    thread.join()


def test_close_ends_waits(queue: Queue) -> None:
    thread = once_asleep(queue, queue.completions.close)
    with pytest.raises(OSError, match="went with its function"):
        queue.completions.wait(queue.id, 7, FOREVER)
    thread.join()


def waiting(queue: Queue, sequence: int) -> threading.Thread:
    """A thread that waits for a command, once it is known to do so."""
    thread = threading.Thread(target=queue.completions.wait, args=(queue.id, sequence, FOREVER))
    thread.start()
    while not queue.completions.waited_for([queue.id]):
        time.sleep(0.001)
    return thread


def test_a_drain_takes_as_long_as_the_waits_before_it(queue: Queue) -> None:
    other = queue.completions.add(queue.memory, 0, 4096, queue.vector_id)
    queue.completions.drain([queue.id])
    waiter = waiting(queue, 0)
    queue.completions.drain([other])
    assert not queue.completions.waited_for([other])
    drain = threading.Thread(target=queue.completions.drain, args=([other, queue.id],))
    drain.start()
    drain.join(0.05)
    assert drain.is_alive()
    queue.complete(1, 2)
    drain.join(PATIENCE)
    assert not drain.is_alive()
    waiter.join()


def test_a_signal_handler_ends_a_drain(queue: Queue) -> None:
    def stop(*_: object) -> None:
        raise InterruptedError("told to stop")

    before = signal.signal(signal.SIGUSR1, stop)
    waiter = waiting(queue, 0)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))

    def drain() -> None:
        # Inside, however long it takes until the drain begins.
        timer.start()
        queue.completions.drain([queue.id])

    with pytest.raises(InterruptedError, match="told to stop"):
        drain()
    timer.join()
    signal.signal(signal.SIGUSR1, before)
    queue.complete(1, 1)
    waiter.join()


def test_a_shrunk_queue_ends_its_waits_only(queue: Queue) -> None:
    other = queue.completions.add(queue.memory, 0, 4096, queue.vector_id)
    queue.completions.remove(queue.id)
    os.ftruncate(queue.memory, 0)
    with pytest.raises(OSError, match="gone"):
        queue.completions.wait(other, 0, FOREVER)
    good = os.memfd_create("good")
    os.ftruncate(good, 4096)
    os.pwrite(good, struct.pack("<Q", 1), 0)
    os.pwrite(good, struct.pack("<Q", 1), 0x10)
    assert queue.completions.wait(queue.completions.add(good, 0, 4096, queue.vector_id), 0, FOREVER)
    os.close(good)


def test_many_waiters_of_one_vector(queue: Queue) -> None:
    queue.indices(0, 16)
    results: list[bool] = []
    threads = [
        threading.Thread(target=lambda number=number: results.append(queue.completions.wait(queue.id, number, 60_000)))
        for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for done in range(1, 17):
        time.sleep(0.003)
        queue.complete(done, 16)
    for thread in threads:
        thread.join()
    assert results == [True] * 16


def test_a_signal_handler_ends_a_wait(queue: Queue) -> None:
    def stop(*_: object) -> None:
        raise InterruptedError("told to stop")

    before = signal.signal(signal.SIGUSR1, stop)
    thread = once_asleep(queue, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    with pytest.raises(InterruptedError, match="told to stop"):
        queue.completions.wait(queue.id, 0, FOREVER)
    thread.join()
    signal.signal(signal.SIGUSR1, before)


def test_an_interrupt_is_waited_for_by_number(queue: Queue) -> None:
    seen = queue.completions.generation(queue.vector_id)
    assert not queue.completions.wait_interrupt(queue.vector_id, seen, 0.01)
    thread = once_asleep(queue, lambda: os.eventfd_write(queue.vector, 1))
    assert queue.completions.wait_interrupt(queue.vector_id, seen, PATIENCE)
    thread.join()
    assert queue.completions.generation(queue.vector_id) != seen


def test_an_interrupt_taken_before_the_wait_is_pushed_is_not_lost(queue: Queue) -> None:
    """Its number was read, then it came and the thread took it, as another wait keeps the vector armed: no event is left to wake
    for.
    """

    def keep_armed() -> None:
        with suppress(OSError):
            queue.completions.wait(queue.id, 100, FOREVER)

    other = threading.Thread(target=keep_armed)
    other.start()
    while not queue.armed:
        time.sleep(0.001)
    seen = queue.completions.generation(queue.vector_id)
    os.eventfd_write(queue.vector, 1)
    while queue.completions.generation(queue.vector_id) == seen:
        time.sleep(0.001)
    waiter = threading.Thread(target=lambda: queue.completions.wait_interrupt(queue.vector_id, seen), daemon=True)
    waiter.start()
    waiter.join(PATIENCE)
    assert not waiter.is_alive()
    queue.completions.close()
    other.join()


def test_what_is_not_there_is_refused(queue: Queue) -> None:
    with pytest.raises(OSError, match="queue 999"):
        queue.completions.wait(999, 0)
    with pytest.raises(OSError, match="vector 999"):
        queue.completions.add(queue.memory, 0, 4096, 999)
    with pytest.raises(OSError, match="header takes 32"):
        queue.completions.add(queue.memory, 0, 31, queue.vector_id)
    for fd in (-1, -2, 1 << 30):
        for name, call in (
            ("kick eventfd", lambda fd=fd: Completions(kick_fd=fd)),
            ("vector's eventfd", lambda fd=fd: queue.completions.add_vector(fd, print)),
        ):
            with pytest.raises(OSError, match=f"{name}, descriptor {fd}:") as raised:
                call()
            assert raised.value.errno == errno.EBADF
