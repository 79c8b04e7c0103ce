"""Regions: information, mapped areas, reads and writes; after libvfio-user's test_device_get_region_info.py and others."""

from __future__ import annotations

import errno
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from _vfio_user import (
    CONFIG,
    GET_INFO,
    GET_REGION_INFO,
    GET_REGION_IO_FDS,
    NO_REPLY,
    REGION_READ,
    REGION_WRITE,
    VERSION,
    WRITE_MULTI,
    RawClient,
)

from fauxdna.bus import BusError, Region
from fauxdna.serve.slot import Slot
from fauxdna.serve.vfio_user import VfioUserServer


@pytest.fixture
def client(server: VfioUserServer, tmp_path: Path) -> Iterator[RawClient]:
    with RawClient(tmp_path / "pf") as client:
        client.reset()
        yield client


def region(client: RawClient, index: int, argsz: int = 32) -> tuple[tuple[int, ...], bytes, list[int]]:
    """(argsz, flags, index, cap_offset, size, offset), what follows, descriptors."""
    reply = client.ask(GET_REGION_INFO, struct.pack("<IIIIQQ", argsz, 0, index, 0, 0, 0))
    assert reply.error == 0
    return struct.unpack("<IIIIQQ", reply.payload[:32]), reply.payload[32:], reply.fds


def test_device_info(client: RawClient) -> None:
    """A PCI device (2) that can be reset (1), with VFIO's nine regions and five kinds of interrupt."""
    assert client.expect(0, GET_INFO, struct.pack("<IIII", 32, 0, 0, 0)) == struct.pack("<IIII", 16, 3, 9, 5)
    client.expect(errno.EINVAL, GET_INFO, struct.pack("<IIII", 15, 0, 0, 0))
    client.expect(errno.EINVAL, GET_INFO, struct.pack("<II", 16, 0))
    client.expect(errno.EINVAL, GET_INFO, struct.pack("<5I", 16, 0, 0, 0, 0))
    client.expect(errno.EINVAL, GET_INFO)


@pytest.mark.parametrize(
    ("function", "sizes"),
    [
        ("pf", (4096, 4096, 1 << 20, 0, 4096, 4096, 0, 4096, 0)),
        ("vf0", (4096, 4096, 1 << 20, 0, 0, 0, 0, 4096, 0)),
    ],
)
def test_sizes(server: VfioUserServer, tmp_path: Path, function: str, sizes: tuple[int, ...]) -> None:
    """BARs of docs/device.md; no ROM, no VGA. A VF has its own before it is enabled, as QEMU asks then."""
    with RawClient(tmp_path / function) as client:
        for index, size in enumerate(sizes):
            (argsz, flags, echoed, cap_offset, found, offset), rest, fds = region(client, index)
            assert (echoed, cap_offset, found, offset, rest, fds) == (index, 0, size, 0, b"", [])
            assert flags == (7 if index == 2 else 3 if size else 0)
            assert argsz == (64 if index == 2 else 32)


def test_mapped_area(client: RawClient) -> None:
    """The sparse-mmap capability (id 1, version 1) and the descriptor come once argsz has room: 32 + 16 + one area of 16."""
    for argsz in (32, 48, 63):
        (needed, flags, *_), rest, fds = region(client, 2, argsz)
        assert (needed, flags, rest, fds) == (64, 7, b"", [])
    (needed, flags, _, cap_offset, size, offset), rest, fds = region(client, 2, 4096)
    assert (needed, flags, cap_offset, size, offset) == (64, 15, 32, 1 << 20, 0)
    assert struct.unpack("<HHIIIQQ", rest) == (1, 1, 0, 1, 0, 0, 1 << 20)
    (fd,) = fds
    with mmap.mmap(fd, size, offset=offset) as view:
        view[0x8000:0x8004] = b"\1\2\3\4"
        assert client.read(2, 0x8000, 4) == b"\1\2\3\4"
        client.write(2, 0x8002, b"\xff")
        # A write is posted: it is answered first and done before the next message is.
        client.read(2, 0x8000, 4)
        assert view[0x8000:0x8004] == b"\1\2\xff\4"
        with pytest.raises(OSError, match="Operation not permitted"):
            os.ftruncate(fd, 4096)
    os.close(fd)


def test_a_client_that_takes_no_descriptors_gets_none(server: VfioUserServer, tmp_path: Path) -> None:
    with RawClient(tmp_path / "pf", negotiate=False) as client:
        client.expect(0, VERSION, struct.pack("<HH", 0, 1) + b'{"capabilities": {"max_msg_fds": 0}}\0')
        (argsz, flags, *_), _, fds = region(client, 2, 4096)
        assert (argsz, flags, fds) == (32, 3, [])


def test_bad_region_info(client: RawClient) -> None:
    client.expect(errno.EINVAL, GET_REGION_INFO, struct.pack("<IIIIQQ", 32, 0, 9, 0, 0, 0))
    client.expect(errno.EINVAL, GET_REGION_INFO, struct.pack("<IIIIQQ", 31, 0, 0, 0, 0, 0))
    client.expect(errno.EINVAL, GET_REGION_INFO, struct.pack("<IIIIQQ", 32, 0, 0xFFFFFFFF, 0, 0, 0))
    client.expect(errno.EINVAL, GET_REGION_INFO, bytes(31))
    fd = os.eventfd(0)
    client.expect(errno.EINVAL, GET_REGION_INFO, struct.pack("<IIIIQQ", 32, 0, 0, 0, 0, 0), fds=[fd])
    os.close(fd)


def test_no_region_has_ioeventfds(client: RawClient) -> None:
    assert client.expect(0, GET_REGION_IO_FDS, struct.pack("<IIII", 64, 0, 0, 0)) == struct.pack("<IIII", 16, 0, 0, 0)
    for request in ((64, 1, 0, 0), (64, 0, 0, 1), (15, 0, 0, 0), (64, 0, 3, 0), (64, 0, 9, 0)):
        client.expect(errno.EINVAL, GET_REGION_IO_FDS, struct.pack("<IIII", *request))


def test_config_space(client: RawClient) -> None:
    assert client.read(CONFIG, 0, 4) == bytes.fromhex("2210f217")
    assert client.read(CONFIG, 3, 1) == b"\x17"
    assert len(client.read(CONFIG, 0, 4096)) == 4096
    client.write(CONFIG, 0x3C, b"\x55")
    assert client.read(CONFIG, 0x3C, 1) == b"\x55"


@pytest.mark.parametrize(
    ("index", "offset", "count"),
    [
        (0, 4096, 4),
        (0, 4093, 4),
        (0, 0xFFFF_FFFF_FFFF_FFFC, 4),
        (0, 0, 0),
        (0, 0, 4100),
        (0, 1, 4),
        (0, 0, 2),
        (3, 0, 4),
        (6, 0, 4),
        (8, 0, 4),
        (9, 0, 4),
        (0xFFFFFFFF, 0, 4),
        (CONFIG, 4095, 2),
        (2, 0, (1 << 20) + 1),
        (2, 1, 1 << 20),
        (2, 0, 0xFFFFFFFF),
    ],
)
def test_accesses_that_leave_their_region(client: RawClient, index: int, offset: int, count: int) -> None:
    client.read(index, offset, count, error=errno.EINVAL)
    data = bytes(min(count, 8192))
    client.expect(errno.EINVAL, REGION_WRITE, struct.pack("<QII", offset, index, count) + data)
    assert client.read(CONFIG, 0, 2) == b"\x22\x10"


def test_lengths_that_do_not_fit(client: RawClient) -> None:
    client.expect(errno.EINVAL, REGION_READ, struct.pack("<QII", 0, CONFIG, 4) + b"\0")
    client.expect(errno.EINVAL, REGION_READ, struct.pack("<QI", 0, CONFIG))
    client.expect(errno.EINVAL, REGION_WRITE, struct.pack("<QII", 0, 2, 4) + b"\0\0\0")
    client.expect(errno.EINVAL, REGION_WRITE, struct.pack("<QII", 0, 2, 4) + b"\0\0\0\0\0")
    client.expect(errno.EINVAL, REGION_WRITE, b"")


def test_reads_are_as_long_as_the_client_takes(server: VfioUserServer, tmp_path: Path) -> None:
    with RawClient(tmp_path / "pf", negotiate=False) as client:
        client.expect(0, VERSION, struct.pack("<HH", 0, 1) + b'{"capabilities": {"max_data_xfer_size": 8}}\0')
        assert len(client.read(CONFIG, 0, 8)) == 8
        client.read(CONFIG, 0, 9, error=errno.EINVAL)


def test_all_of_the_sram_in_one_message(client: RawClient) -> None:
    data = os.urandom(1 << 20)
    client.write(2, 0, data)
    assert client.read(2, 0, 1 << 20) == data


def one(offset: int, index: int, data: bytes, count: int | None = None) -> bytes:
    """A write of WRITE_MULTI."""
    return struct.pack("<QII", offset, index, len(data) if count is None else count) + data.ljust(8, b"\xee")


def test_several_writes_in_one_message(client: RawClient) -> None:
    writes = [one(0x8000, 2, b"abcdefgh"), one(0x8004, 2, b"X"), one(0x3C, CONFIG, b"\x77")]
    assert client.expect(0, WRITE_MULTI, struct.pack("<Q", 3) + b"".join(writes)) == struct.pack("<Q", 3)
    assert client.read(2, 0x8000, 8) == b"abcdXfgh"
    assert client.read(CONFIG, 0x3C, 1) == b"\x77"
    client.post(WRITE_MULTI, struct.pack("<Q", 1) + one(0x8000, 2, b"z"), flags=NO_REPLY)
    assert client.read(2, 0x8000, 2) == b"zb"
    assert client.expect(0, WRITE_MULTI, struct.pack("<Q", 0)) == struct.pack("<Q", 0)


@pytest.mark.parametrize(
    "payload",
    [
        struct.pack("<Q", 2) + one(0x8000, 2, b"a"),
        struct.pack("<Q", 1) + one(0x8000, 2, b"a") + b"\0",
        struct.pack("<Q", 2) + one(0x8000, 2, b"a") + one(0x8000, 2, b"", count=9),
        struct.pack("<Q", 2) + one(0x8000, 2, b"a") + one(0x8000, 2, b"", count=0),
        struct.pack("<Q", 2) + one(0x8000, 2, b"a") + one(0xFFFFF, 2, b"ab"),
        struct.pack("<Q", 2) + one(0x8000, 2, b"a") + one(0, 3, b"abcd"),
        struct.pack("<Q", 201) + one(0x8000, 2, b"a") * 201,
        struct.pack("<Q", 1 << 63),
        b"\1\0\0\0",
        b"",
    ],
)
def test_several_writes_of_which_one_is_bad(client: RawClient, payload: bytes) -> None:
    """None of them is done."""
    client.expect(errno.EINVAL, WRITE_MULTI, payload)
    assert client.read(2, 0x8000, 1) == b"\0"


def test_writes_are_answered_before_the_next_read_sees_them_done(client: RawClient) -> None:
    """SMU POWER_ON: written without waiting for replies, then read: response 1, as docs/device.md has it."""
    for offset, value in ((0x9F0, 0), (0x9F4, 0), (0x9EC, 3), (0, 0), (0, 1)):
        client.post(REGION_WRITE, struct.pack("<QIII", offset, 5, 4, value), flags=NO_REPLY)
    assert client.read(5, 0x9F0, 4) == b"\1\0\0\0"


def test_a_write_that_fails_behind_its_answer_keeps_the_client_in_step(
    client: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Slot, region: Region, offset: int, data: bytes) -> None:
        raise BusError(errno.EIO, "a function that went away meanwhile")

    before = client.read(7, 0, 4)
    with monkeypatch.context() as patched:
        patched.setattr(Slot, "region_write", fail)
        client.write(2, 0x8000, bytes(4))
        assert client.read(7, 0, 4) == before
    assert client.read(7, 0, 4) == before
