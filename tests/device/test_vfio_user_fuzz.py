"""Clients that send anything: nothing but errors comes back, other functions go on, and nothing is left behind."""

from __future__ import annotations

import array
import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from _usage import grew, usage
from _vfio_user import (
    CONFIG,
    DEVICE_FEATURE,
    DEVICE_RESET,
    DMA_MAP,
    DMA_UNMAP,
    GET_INFO,
    GET_IRQ_INFO,
    GET_REGION_INFO,
    GET_REGION_IO_FDS,
    HEADER,
    REGION_READ,
    REGION_WRITE,
    SET_IRQS,
    VERSION,
    WRITE_MULTI,
    RawClient,
    memfd,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from fauxdna.firmware import build_images
from fauxdna.serve import LocalDie
from fauxdna.serve.vfio_user import VfioUserServer

GOOD = [
    (VERSION, struct.pack("<HH", 0, 1) + b'{"capabilities": {"max_msg_fds": 8}}\0', 0),
    (GET_INFO, struct.pack("<IIII", 16, 0, 0, 0), 0),
    (GET_REGION_INFO, struct.pack("<IIIIQQ", 64, 0, 2, 0, 0, 0), 0),
    (GET_REGION_IO_FDS, struct.pack("<IIII", 16, 0, 0, 0), 0),
    (GET_IRQ_INFO, struct.pack("<IIII", 16, 0, 2, 0), 0),
    (SET_IRQS, struct.pack("<IIIII", 20, 0x24, 2, 0, 2), 2),
    (SET_IRQS, struct.pack("<IIIII", 21, 0x22, 2, 0, 1) + b"\1", 0),
    (DMA_MAP, struct.pack("<IIQQQ", 32, 3, 0, 0x10000, 4096), 1),
    (DMA_UNMAP, struct.pack("<IIQQ", 24, 0, 0x10000, 4096), 0),
    (REGION_READ, struct.pack("<QII", 0, CONFIG, 64), 0),
    (REGION_WRITE, struct.pack("<QII", 4, CONFIG, 2) + b"\6\0", 0),
    (REGION_WRITE, struct.pack("<QII", 0x100, 0, 4) + b"\0\0\0\0", 0),
    (WRITE_MULTI, struct.pack("<QQII8s", 1, 0x8000, 2, 4, b"abcd"), 0),
    (DEVICE_FEATURE, struct.pack("<II", 8, 0x10001), 0),
    (DEVICE_RESET, b"", 0),
]
"""One of each: command, payload, descriptors."""
WORDS = st.one_of(
    st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2, 3, 4, 7, 8, 16, 20, 24, 32, 0x1000, 0x80000000, 0xFFFFFFFF])
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("vfio-user")
    with LocalDie() as die, VfioUserServer(die) as server:
        for name in ("pf", "vf0", "vf1"):
            server.listen(folder / name, name)
        yield folder


@pytest.fixture(scope="module")
def files() -> Iterator[list[int]]:
    """Things that descriptors may be."""
    reader, writer = os.pipe()
    fds = [os.eventfd(0, os.EFD_NONBLOCK), memfd(1 << 20), memfd(0), reader, writer, os.open("/dev/null", os.O_RDWR)]
    yield fds
    for fd in fds:
        os.close(fd)


def healthy(folder: Path) -> None:
    """A function answers a fresh client."""
    with RawClient(folder / "pf") as client:
        client.reset()
        assert client.read(CONFIG, 0, 4) == bytes.fromhex("2210f217")


MESSAGES = st.lists(
    st.tuples(
        st.sampled_from(GOOD),
        st.lists(st.tuples(st.integers(0, 12), WORDS), max_size=3),
        st.integers(-5, 5),
        st.lists(st.integers(0, 5), max_size=4),
        st.sampled_from([0, 0, 0, 0x10, 0x20, 1, 0xF, 0xFFFFFFFF]),
        st.sampled_from([0, 0, 0, 0, 1, 0x7FFFFFFF]),
    ),
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(negotiate=st.booleans(), function=st.sampled_from(["pf", "vf0"]), messages=MESSAGES)
def test_changed_messages(
    path: Path, files: list[int], negotiate: bool, function: str, messages: list[tuple[tuple[int, bytes, int], ...]]
) -> None:
    """Valid messages with words changed, cut or lengthened payloads, wrong sizes, any flags, any descriptors."""
    client = RawClient(path / function, negotiate=negotiate)
    with suppress(OSError):
        for (command, good, _), changes, cut, fds, flags, size in messages:
            payload = bytearray(good)
            for word, value in changes:
                if 4 * word + 4 <= len(payload):
                    struct.pack_into("<I", payload, 4 * word, value)
            payload = payload[:cut] if cut < 0 else payload + bytes(cut)
            data = HEADER.pack(1, command, 16 + len(payload) + size, flags, 0) + payload
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [files[fd] for fd in fds]))] if fds else []
            client.socket.sendmsg([data], rights)
    client.close()
    healthy(path)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=400), function=st.sampled_from(["pf", "vf1"]))
def test_noise(path: Path, data: bytes, function: str) -> None:
    client = RawClient(path / function, negotiate=False)
    with suppress(OSError):
        client.socket.sendall(data)
    client.close()
    healthy(path)


@settings(max_examples=200, deadline=None)
@given(
    writes=st.lists(
        st.tuples(
            st.sampled_from([0, 1, 2, 4, 5, CONFIG, CONFIG]),
            st.one_of(st.integers(0, 1023), st.sampled_from([0x40, 0x41, 0x50, 0x52, 0x9EC // 4, 0xA24 // 4, 0xAEC // 4])),
            WORDS,
        ),
        max_size=30,
    )
)
def test_any_register(path: Path, writes: list[tuple[int, int, int]]) -> None:
    """Every register takes every value; firmware that a driver started properly still starts afterwards."""
    with RawClient(path / "pf") as client:
        client.reset()
        client.write(CONFIG, 4, b"\6\0")
        for index, word, value in writes:
            reply = client.ask(REGION_WRITE, struct.pack("<QIII", 4 * word, index, 4, value))
            assert reply.error in (0, errno.EINVAL)
            assert client.ask(REGION_READ, struct.pack("<QII", 4 * word, index, 4)).error == reply.error
    healthy(path)


def test_an_end_at_any_byte(path: Path, files: list[int]) -> None:
    """Each message of a session is cut behind each of its bytes, with its descriptors on the way."""
    before = usage()
    for command, payload, count in GOOD[1:]:
        message = HEADER.pack(1, command, 16 + len(payload), 0, 0) + payload
        fds = [files[1]] if command == DMA_MAP else [files[0]] * count
        for cut in range(1, len(message) + 1):
            client = RawClient(path / "pf")
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            client.socket.sendmsg([message[:cut]], rights)
            client.socket.close()
    healthy(path)
    assert not any(grew(before, usage))


def test_descriptors_of_messages_that_nobody_reads_further(path: Path, files: list[int]) -> None:
    """253 at once is what Linux passes with one message; they are closed with the message that carried them."""
    before = usage()
    with RawClient(path / "pf") as client:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [files[0]] * 253))]
        message = HEADER.pack(1, GET_INFO, 32, 0, 0) + struct.pack("<IIII", 16, 0, 0, 0)
        for _ in range(20):
            client.socket.sendmsg([message], rights)
            reply = client.answer()
            assert reply is not None
            assert reply.error == errno.EINVAL
    with RawClient(path / "pf") as client:
        # One byte and 253 descriptors at a time: more than a message can have.
        for byte in message[:4]:
            with suppress(OSError):
                client.socket.sendmsg([bytes([byte])], rights)
        with suppress(OSError):
            assert client.answer() is None
    healthy(path)
    assert not any(grew(before, usage))


def test_any_length_of_an_image(path: Path) -> None:
    """An image of 144 bytes carries its own length; PSP reads what it is told, and no more than is mapped."""
    image = build_images()["npu.dev.sbin"]
    fd = memfd(1 << 20)
    os.pwrite(fd, image, 0)
    with RawClient(path / "pf") as client:
        client.reset()
        client.write(CONFIG, 4, b"\6\0")
        client.map(0, fd, 0, 1 << 20)
        for size in (0, 1, 16, 143, 144, 145, 65536, 1 << 20, (1 << 20) + 1, 0xFFFFFF):
            for offset, value in ((0xB70, 0), (0xB74, 0), (0xAEC, 1 << 24 | size), (0xA24, 0xD007BE11)):
                client.write(4, offset, struct.pack("<I", value))
            response = struct.unpack("<I", client.read(4, 0xB70, 4))[0]
            assert response == (0 if 144 <= size <= 1 << 20 else 0xFFFF0002), size
    os.close(fd)
