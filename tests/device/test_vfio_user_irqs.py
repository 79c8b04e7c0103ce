"""Interrupts: after libvfio-user's test_device_get_irq_info.py and test_device_set_irqs.py, and Linux's vfio_pci_intrs.c."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator

import pytest
from _usage import descriptors, grew
from _vfio_user import BOOL, CONFIG, ERR, EVENTFD, GET_IRQ_INFO, MASK, NONE, SET_IRQS, TRIGGER, UNMASK, RawClient

PENDING = 0x800
"""The pending bits in BAR1 (docs/device.md)."""
ENABLED = 0x80
"""MSI-X Enable, in the upper byte of the capability's control word."""


@pytest.fixture
def eventfds() -> Iterator[list[int]]:
    fds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(16)]
    yield fds
    for fd in fds:
        os.close(fd)


def events(fd: int) -> int:
    """What an eventfd counted since the last call."""
    try:
        return os.eventfd_read(fd)
    except BlockingIOError:
        return 0


def msix_enabled(client: RawClient) -> bool:
    at = client.read(CONFIG, 0x34, 1)[0]
    while client.read(CONFIG, at, 1) != b"\x11":
        at = client.read(CONFIG, at + 1, 1)[0]
    return bool(client.read(CONFIG, at + 3, 1)[0] & ENABLED)


def test_info(client: RawClient) -> None:
    """Eight MSI-X vectors that can be masked (EVENTFD 1, MASKABLE 2, not NORESIZE 8); VFIO's error interrupt; no others."""
    found = [
        struct.unpack("<IIII", client.expect(0, GET_IRQ_INFO, struct.pack("<IIII", 16 + index, 0, index, 0)))
        for index in range(5)
    ]
    assert found == [(16, 0, 0, 0), (16, 0, 1, 0), (16, 3, 2, 8), (16, 1, 3, 1), (16, 0, 4, 0)]
    client.expect(errno.EINVAL, GET_IRQ_INFO, struct.pack("<IIII", 16, 0, 5, 0))
    client.expect(errno.EINVAL, GET_IRQ_INFO, struct.pack("<IIII", 8, 0, 2, 0))
    client.expect(errno.EINVAL, GET_IRQ_INFO, struct.pack("<II", 16, 0))


def test_connect_and_trigger(client: RawClient, eventfds: list[int]) -> None:
    client.set_irqs(NONE | TRIGGER, 0, 1, error=errno.EINVAL)
    client.set_irqs(EVENTFD | TRIGGER, 1, 3, fds=eventfds[:3])
    assert msix_enabled(client)
    client.set_irqs(NONE | TRIGGER, 2, 2)
    assert [events(fd) for fd in eventfds[:3]] == [0, 1, 1]
    client.set_irqs(BOOL | TRIGGER, 1, 3, data=b"\1\0\xff")
    assert [events(fd) for fd in eventfds[:3]] == [1, 0, 1]


def test_all_vectors_at_once_and_one_by_one(client: RawClient, eventfds: list[int]) -> None:
    client.set_irqs(EVENTFD | TRIGGER, 0, 8, fds=eventfds[:8])
    client.set_irqs(NONE | TRIGGER, 0, 8)
    assert [events(fd) for fd in eventfds[:8]] == [1] * 8
    for vector in range(8):
        client.set_irqs(EVENTFD | TRIGGER, vector, 1, fds=[eventfds[8 + vector]])
    client.set_irqs(NONE | TRIGGER, 0, 8)
    assert [events(fd) for fd in eventfds] == [0] * 8 + [1] * 8


def test_disconnect(client: RawClient, eventfds: list[int]) -> None:
    """Eventfds without descriptors take vectors' away; count 0 takes all away, and disables MSI-X."""
    client.set_irqs(EVENTFD | TRIGGER, 0, 2, fds=eventfds[:2])
    client.set_irqs(EVENTFD | TRIGGER, 0, 1)
    client.set_irqs(NONE | TRIGGER, 0, 2)
    assert [events(fd) for fd in eventfds[:2]] == [0, 1]
    client.set_irqs(NONE | TRIGGER, 0, 0)
    assert not msix_enabled(client)
    client.set_irqs(NONE | TRIGGER, 1, 1, error=errno.EINVAL)
    assert events(eventfds[1]) == 0
    client.set_irqs(NONE | TRIGGER, 0, 0)


def test_mask(client: RawClient, eventfds: list[int]) -> None:
    """A masked vector pends (its bit is set in BAR1), and is delivered once it is unmasked."""
    client.set_irqs(EVENTFD | TRIGGER, 0, 2, fds=eventfds[:2])
    client.set_irqs(NONE | MASK, 0, 2)
    client.set_irqs(NONE | TRIGGER, 0, 2)
    assert client.read(1, PENDING, 4) == b"\3\0\0\0"
    assert [events(fd) for fd in eventfds[:2]] == [0, 0]
    client.set_irqs(BOOL | UNMASK, 0, 2, data=b"\0\1")
    assert [events(fd) for fd in eventfds[:2]] == [0, 1]
    assert client.read(1, PENDING, 4) == b"\1\0\0\0"
    client.set_irqs(NONE | UNMASK, 0, 1)
    assert events(eventfds[0]) == 1


def test_vectors_outlive_a_reset(client: RawClient, eventfds: list[int]) -> None:
    client.set_irqs(EVENTFD | TRIGGER, 0, 1, fds=eventfds[:1])
    client.reset()
    client.set_irqs(NONE | TRIGGER, 0, 1)
    assert events(eventfds[0]) == 1


@pytest.mark.parametrize(
    ("flags", "start", "count", "data"),
    [
        (TRIGGER, 0, 1, b""),
        (NONE, 0, 1, b""),
        (MASK | UNMASK | NONE, 0, 1, b""),
        (MASK | NONE | BOOL, 0, 1, b"\0"),
        (TRIGGER | NONE | 0x40, 0, 1, b""),
        (0, 0, 0, b""),
        (NONE | MASK, 7, 2, b""),
        (NONE | MASK, 8, 1, b""),
        (NONE | TRIGGER, 8, 0, b""),
        (EVENTFD | TRIGGER, 4, 0xFFFFFFFF, b""),
        (NONE | TRIGGER, 0xFFFFFFFF, 1, b""),
        (NONE | MASK, 1, 0, b""),
        (NONE | TRIGGER, 1, 0, b""),
        (NONE | MASK, 0, 0, b""),
        (BOOL | TRIGGER, 0, 0, b""),
        (EVENTFD | TRIGGER, 0, 0, b""),
        (BOOL | TRIGGER, 0, 2, b"\0"),
        (BOOL | TRIGGER, 0, 2, b"\0\0\0"),
        (NONE | TRIGGER, 0, 1, b"\0"),
        (EVENTFD | TRIGGER, 0, 1, b"\0\0\0\0"),
        (EVENTFD | MASK, 0, 1, b""),
        (EVENTFD | UNMASK, 0, 1, b""),
    ],
)
def test_bad_requests(client: RawClient, flags: int, start: int, count: int, data: bytes) -> None:
    client.set_irqs(flags, start, count, data=data, error=errno.EINVAL)


@pytest.mark.parametrize("index", [0, 1, 4, 5, 0xFFFFFFFF])
def test_kinds_that_the_function_has_not(client: RawClient, index: int, eventfds: list[int]) -> None:
    client.set_irqs(NONE | TRIGGER, 0, 0, index=index, error=errno.EINVAL)
    client.set_irqs(EVENTFD | TRIGGER, 0, 1, index=index, fds=eventfds[:1], error=errno.EINVAL)


def test_lengths(client: RawClient) -> None:
    client.expect(errno.EINVAL, SET_IRQS)
    client.expect(errno.EINVAL, SET_IRQS, bytes(19))
    client.set_irqs(NONE | TRIGGER, 0, 0, argsz=19, error=errno.EINVAL)


@pytest.mark.parametrize(
    ("flags", "count", "fds"), [(NONE, 1, 1), (BOOL, 1, 1), (EVENTFD, 2, 1), (EVENTFD, 1, 2), (EVENTFD, 8, 9)]
)
def test_wrong_number_of_descriptors(client: RawClient, eventfds: list[int], flags: int, count: int, fds: int) -> None:
    """They are refused and closed."""
    before = (descriptors(),)
    data = bytes(count) if flags == BOOL else b""
    client.set_irqs(flags | TRIGGER, 0, count, data=data, fds=eventfds[:fds], error=errno.EINVAL)
    assert not any(grew(before, lambda: (descriptors(),)))


def test_more_descriptors_than_a_message_may_have(client: RawClient) -> None:
    fds = [os.eventfd(0) for _ in range(17)]
    before = (descriptors(),)
    client.set_irqs(EVENTFD | TRIGGER, 0, 8, fds=fds, error=errno.EINVAL)
    assert not any(grew(before, lambda: (descriptors(),)))
    for fd in fds:
        os.close(fd)


def test_what_is_no_eventfd_connects_none_of_its_message(client: RawClient, eventfds: list[int]) -> None:
    client.set_irqs(EVENTFD | TRIGGER, 0, 1, fds=eventfds[:1])
    reader, writer = os.pipe()
    client.set_irqs(EVENTFD | TRIGGER, 0, 2, fds=[eventfds[1], writer], error=errno.EINVAL)
    client.set_irqs(NONE | TRIGGER, 0, 1)
    assert [events(fd) for fd in eventfds[:2]] == [1, 0]
    os.close(reader)
    os.close(writer)


def test_the_error_interrupt(client: RawClient, eventfds: list[int]) -> None:
    """QEMU connects it. It is never raised but by its own test."""
    client.set_irqs(NONE | TRIGGER, 0, 1, index=ERR, error=errno.EINVAL)
    client.set_irqs(EVENTFD | TRIGGER, 0, 1, index=ERR, fds=eventfds[:1])
    client.set_irqs(NONE | TRIGGER, 0, 1, index=ERR)
    assert events(eventfds[0]) == 1
    client.set_irqs(BOOL | TRIGGER, 0, 1, index=ERR, data=b"\0")
    assert events(eventfds[0]) == 0
    client.set_irqs(NONE | MASK, 0, 1, index=ERR, error=errno.EINVAL)
    client.set_irqs(NONE | TRIGGER, 0, 2, index=ERR, error=errno.EINVAL)
    client.set_irqs(NONE | TRIGGER, 0, 0, index=ERR)
    client.set_irqs(NONE | TRIGGER, 0, 1, index=ERR, error=errno.EINVAL)


def test_a_full_eventfd_holds_up_nobody(client: RawClient) -> None:
    """Its counter stays at its end; the interrupt is taken as seen."""
    fd = os.eventfd(0)
    os.eventfd_write(fd, 0xFFFF_FFFF_FFFF_FFFE)
    client.set_irqs(EVENTFD | TRIGGER, 0, 1, fds=[fd])
    client.set_irqs(NONE | TRIGGER, 0, 1)
    assert client.read(1, PENDING, 4) == bytes(4)
    os.close(fd)
