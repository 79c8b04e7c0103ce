"""MSI-X delivery: eventfd, mask and pending bit, as the PCI specification has them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest

from fauxdna._core import Interrupts


@pytest.fixture
def eventfd() -> Iterator[int]:
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    yield fd
    os.close(fd)


def count(fd: int) -> int:
    """Interrupts delivered since the last look."""
    try:
        return os.eventfd_read(fd)
    except BlockingIOError:
        return 0


def test_interrupts_arrive_and_count(eventfd: int) -> None:
    interrupts = Interrupts(2)
    interrupts.set(1, eventfd)
    interrupts.trigger(1)
    interrupts.trigger(1)
    assert count(eventfd) == 2
    assert not interrupts.pending(1)


def test_masked_vector_remembers_one_interrupt(eventfd: int) -> None:
    interrupts = Interrupts(1)
    interrupts.set(0, eventfd)
    interrupts.mask(0, True)
    for _ in range(3):
        interrupts.trigger(0)
    assert (interrupts.pending(0), count(eventfd)) == (True, 0)
    interrupts.mask(0, False)
    assert (interrupts.pending(0), count(eventfd)) == (False, 1)
    interrupts.mask(0, False)
    assert count(eventfd) == 0


def test_vector_without_eventfd_is_pending_until_it_gets_one(eventfd: int) -> None:
    interrupts = Interrupts(1)
    interrupts.trigger(0)
    assert interrupts.pending(0)
    interrupts.set(0, eventfd)
    assert count(eventfd) == 1
    interrupts.set(0, None)
    interrupts.trigger(0)
    assert (interrupts.pending(0), count(eventfd)) == (True, 0)


def test_vectors_do_not_mix(eventfd: int) -> None:
    interrupts = Interrupts(3)
    interrupts.set(1, eventfd)
    interrupts.trigger(0)
    interrupts.trigger(2)
    assert count(eventfd) == 0
    assert [interrupts.pending(vector) for vector in range(3)] == [True, False, True]


def test_descriptor_is_duplicated() -> None:
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    other = os.dup(fd)
    interrupts = Interrupts(1)
    interrupts.set(0, fd)
    os.close(fd)
    interrupts.trigger(0)
    assert count(other) == 1
    os.close(other)


def test_full_counter_does_not_block() -> None:
    """A kernel's signal on top of the most that a write leaves is an overflow, read as 2^64 - 1 (eventfd(2), on KAIO)."""
    fd = os.eventfd(0)
    interrupts = Interrupts(1)
    interrupts.set(0, fd)
    os.eventfd_write(fd, 2**64 - 2)
    for _ in range(3):
        interrupts.trigger(0)
    assert os.eventfd_read(fd) == 2**64 - 1
    interrupts.trigger(0)
    assert os.eventfd_read(fd) == 1
    os.close(fd)


def test_only_eventfds_are_taken() -> None:
    interrupts = Interrupts(1)
    reader, writer = os.pipe()
    try:
        with pytest.raises(OSError, match="not an eventfd") as caught:
            interrupts.set(0, writer)
        assert caught.value.errno == errno.EINVAL
    finally:
        os.close(reader)
        os.close(writer)
    with pytest.raises(OSError, match="not open") as caught:
        interrupts.set(0, 987654)
    assert caught.value.errno == errno.EBADF


def test_vectors_are_bounded() -> None:
    for vectors in (0, 2049):
        with pytest.raises(OSError, match="1 to 2048") as caught:
            Interrupts(vectors)
        assert caught.value.errno == errno.EINVAL
    interrupts = Interrupts(2)
    for call in (interrupts.trigger, interrupts.pending, lambda vector: interrupts.mask(vector, True)):
        with pytest.raises(OSError, match="vector 2 does not exist"):
            call(2)


def test_every_third_interrupt_is_lost_on_request() -> None:
    interrupts = Interrupts(2)
    eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    try:
        interrupts.set(0, eventfd)
        interrupts.lose(0, 3)
        for _ in range(9):
            interrupts.trigger(0)
        assert os.eventfd_read(eventfd) == 9 - 9 // 3
        interrupts.lose(0, 0)
        interrupts.trigger(0)
        assert os.eventfd_read(eventfd) == 1
        with pytest.raises(OSError, match="vector 2"):
            interrupts.lose(2, 1)
    finally:
        os.close(eventfd)
