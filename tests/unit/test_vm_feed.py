"""A command's standard input: what comes from a descriptor reaches the port, at the pace of the port."""

from __future__ import annotations

import os
import selectors
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fauxdna.vm.feed import Feed


class Port:
    """What QEMU does with the socket: it listens, and takes what comes when it wants."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()

    def accept(self) -> socket.socket:
        """The next command's connection."""
        connection, _ = self._listener.accept()
        return connection

    def close(self) -> None:
        """Listens no more."""
        self._listener.close()


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Port]:
    monkeypatch.chdir(tmp_path)  # A short name, whatever the folder's.
    port = Port(Path("port"))
    yield port
    port.close()


def fed(port: Port, source: int) -> bytes:
    """All that the port gets of a source."""
    feed = Feed(port.path, "name", source)
    received = bytearray()

    def take() -> None:
        with port.accept() as connection:
            while data := connection.recv(1 << 16):
                received.extend(data)

    taker = threading.Thread(target=take)
    taker.start()
    with selectors.DefaultSelector() as selector:
        feed.attach(selector)
        while selector.get_map():
            selector.select()
            feed.go_on()
    taker.join()
    feed.close()
    return bytes(received)


def test_a_file_comes_after_the_name_and_ends(port: Port, tmp_path: Path) -> None:
    content = os.urandom(1_000_000)
    (tmp_path / "file").write_bytes(content)
    with (tmp_path / "file").open("rb") as file:
        assert fed(port, file.fileno()) == b"\nname\n" + content


def test_a_pipe_comes_as_it_is_written(port: Port) -> None:
    ours, theirs = os.pipe()
    content = os.urandom(300_000)

    def write() -> None:
        with open(theirs, "wb") as file:
            file.write(content)

    writer = threading.Thread(target=write)
    writer.start()
    assert fed(port, ours) == b"\nname\n" + content
    writer.join()
    os.close(ours)


def test_what_holds_nothing_is_empty_input(port: Port) -> None:
    with open(os.devnull, "rb") as nothing:
        assert fed(port, nothing.fileno()) == b"\nname\n"


def test_no_more_is_read_than_the_port_takes(port: Port, tmp_path: Path) -> None:
    size = 64 << 20
    with (tmp_path / "file").open("w+b") as file:
        file.truncate(size)
        feed = Feed(port.path, "name", file.fileno())
        with port.accept(), selectors.DefaultSelector() as selector:
            feed.attach(selector)
            # The connection's buffer is full, and no socket's is as large as this.
            assert os.lseek(file.fileno(), 0, os.SEEK_CUR) < size // 2
            assert selector.get_map()
            feed.close()
            assert not selector.get_map()


def test_a_port_that_goes_ends_it(port: Port, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        file.truncate(64 << 20)
        feed = Feed(port.path, "name", file.fileno())
        with selectors.DefaultSelector() as selector:
            with port.accept():
                feed.attach(selector)
            feed.go_on()
            assert not selector.get_map()
