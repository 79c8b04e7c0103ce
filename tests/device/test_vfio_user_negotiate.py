"""VERSION: after libvfio-user's test/py/test_negotiate.py."""

from __future__ import annotations

import errno
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from _vfio_user import GET_INFO, HEADER, NO_REPLY, REPLY, VERSION, RawClient

from fauxdna.serve import LocalDie
from fauxdna.serve.vfio_user import VfioUserServer


@pytest.fixture
def path(die: LocalDie, tmp_path: Path) -> Iterator[Path]:
    with VfioUserServer(die) as server:
        server.listen(tmp_path / "pf")
        yield tmp_path / "pf"


def version(path: Path, data: bytes, major: int = 0, minor: int = 1) -> tuple[int, bytes, bool]:
    """The errno, the payload, and whether the connection lives on."""
    with RawClient(path, negotiate=False) as client:
        reply = client.ask(VERSION, struct.pack("<HH", major, minor) + data)
        if reply.error:
            return reply.error, reply.payload, client.answer() is not None
        return 0, reply.payload, client.ask(GET_INFO, struct.pack("<IIII", 16, 0, 0, 0)).error == 0


@pytest.mark.parametrize("data", [b"", b"\0", b"{}\0", b'{"capabilities": {}}\0'])
def test_defaults(path: Path, data: bytes) -> None:
    error, payload, lives = version(path, data)
    assert (error, lives) == (0, True)
    assert struct.unpack("<HH", payload[:4]) == (0, 1)
    assert payload[-1:] == b"\0"
    capabilities = json.loads(payload[4:-1])["capabilities"]
    # QEMU gives up on more than 16 descriptors and 1 MiB; a capability that was not proposed is not answered.
    assert capabilities == {"max_msg_fds": 16, "max_data_xfer_size": 1048576, "max_dma_maps": 65535, "pgsizes": 4096}


def test_what_qemu_11_proposes(path: Path) -> None:
    proposal = {
        "max_msg_fds": 8,
        "max_data_xfer_size": 1048576,
        "pgsizes": 4096,
        "max_dma_maps": 65535,
        "migration": {"pgsize": 4096, "max_bitmap_size": 256 << 20},
        "write_multiple": True,
    }
    error, payload, lives = version(path, json.dumps({"capabilities": proposal}).encode() + b"\0", minor=0)
    assert (error, lives) == (0, True)
    assert struct.unpack("<HH", payload[:4]) == (0, 0), "the minor version is not above what was proposed"
    capabilities = json.loads(payload[4:-1])["capabilities"]
    assert capabilities["write_multiple"] is True
    assert "migration" not in capabilities


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b"{\0",
        b'"\0',
        b"[]\0",
        b"\xff\xfe\0",
        b"nul\0",
        b'{"capabilities": "23"}\0',
        b'{"capabilities": {"max_msg_fds": "foo"}}\0',
        b'{"capabilities": {"max_msg_fds": -1}}\0',
        b'{"capabilities": {"max_msg_fds": true}}\0',
        b'{"capabilities": {"max_msg_fds": 1e2}}\0',
        b'{"capabilities": {"max_data_xfer_size": 18446744073709551616}}\0',
        b'{"capabilities": {"pgsizes": 65536}}\0',
        b'{"capabilities": {"write_multiple": 1}}\0',
        b"[" * 4000 + b"\0",
        b" " * 5000 + b"\0",
        b'{"capabilities": {"max_msg_fds": ' + b"9" * 4000 + b"}}\0",
    ],
)
def test_bad_data(path: Path, data: bytes) -> None:
    error, _, lives = version(path, data)
    assert (error, lives) == (errno.EINVAL, False)


def test_another_major_version(path: Path) -> None:
    error, _, lives = version(path, b"", major=1)
    assert (error, lives) == (errno.EINVAL, False)


def test_short(path: Path) -> None:
    with RawClient(path, negotiate=False) as client:
        assert client.ask(VERSION, b"\0\0\1").error == errno.EINVAL
        assert client.answer() is None


def test_version_comes_first(path: Path) -> None:
    with RawClient(path, negotiate=False) as client:
        assert client.ask(GET_INFO, struct.pack("<IIII", 16, 0, 0, 0)).error == errno.EINVAL
        assert client.answer() is None


def test_version_comes_once(path: Path) -> None:
    with RawClient(path) as client:
        client.expect(errno.EINVAL, VERSION, struct.pack("<HH", 0, 1))
        client.expect(0, GET_INFO, struct.pack("<IIII", 16, 0, 0, 0))


@pytest.mark.parametrize("command", [0, 11, 12, 14, 17, 18, 19, 999, 65535])
def test_commands_that_are_none_of_a_clients(path: Path, command: int) -> None:
    """11 and 12 are a server's, 14 is gone, 17 and 18 are for migration."""
    with RawClient(path) as client:
        client.expect(errno.EINVAL, command, bytes(16))
        client.expect(0, GET_INFO, struct.pack("<IIII", 16, 0, 0, 0))


def test_a_reply_that_nobody_asked_for(path: Path) -> None:
    with RawClient(path) as client:
        client.post(GET_INFO, struct.pack("<IIII", 16, 0, 0, 0), flags=REPLY)
        reply = client.answer()
        assert reply is not None
        assert reply.error == errno.EINVAL


@pytest.mark.parametrize("size", [0, 15, 16 + 16 + (1 << 20) + 1, 0xFFFFFFFF])
def test_sizes_that_no_message_has(path: Path, size: int) -> None:
    """Where the next message starts is unknown then, so the connection ends."""
    with RawClient(path) as client:
        client.socket.sendall(HEADER.pack(7, GET_INFO, size, 0, 0))
        reply = client.answer()
        assert reply is not None
        assert (reply.id, reply.error) == (7, errno.EINVAL)
        assert client.answer() is None


def test_commands_without_reply(path: Path) -> None:
    """Neither result nor error is sent; the next command is answered after them."""
    with RawClient(path) as client:
        client.post(GET_INFO, struct.pack("<IIII", 16, 0, 0, 0), flags=NO_REPLY)
        client.post(999, b"", flags=NO_REPLY)
        client.expect(0, GET_INFO, struct.pack("<IIII", 16, 0, 0, 0))


def test_pipelined_commands_are_answered_in_order(path: Path) -> None:
    with RawClient(path) as client:
        ids = [client.post(GET_INFO, struct.pack("<IIII", 16, 0, 0, 0)) for _ in range(50)]
        replies = [client.answer() for _ in ids]
        assert [reply.id for reply in replies if reply is not None] == ids


def test_a_message_byte_by_byte(path: Path) -> None:
    with RawClient(path) as client:
        message = HEADER.pack(9, GET_INFO, 32, 0, 0) + struct.pack("<IIII", 16, 0, 0, 0)
        for byte in message:
            client.socket.sendall(bytes([byte]))
        reply = client.answer()
        assert reply is not None
        assert (reply.id, reply.error) == (9, 0)
