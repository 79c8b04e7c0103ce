"""Clients that can't be served: they are told why, whenever they ask, and nobody waits for one that does not."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from _patience import eventually
from _usage import grew, usage
from _vfio_user import CONFIG, HEADER, REPLY, VERSION, RawClient

from fauxdna.serve import LocalDie
from fauxdna.serve.vfio_user import VfioUserServer
from fauxdna.serve.vfio_user.refusal import LIMIT

PROPOSAL = struct.pack("<HH", 0, 1)
PF = b"\x22\x10\xf2\x17"


@pytest.fixture
def first(server: VfioUserServer, tmp_path: Path) -> Iterator[RawClient]:
    """Who has the function."""
    with RawClient(tmp_path / "pf") as client:
        client.reset()
        yield client


def silent(path: Path) -> RawClient:
    return RawClient(path, negotiate=False)


def told(client: RawClient) -> int:
    """What a refused client gets for its VERSION; the connection ends then."""
    error = client.ask(VERSION, PROPOSAL).error
    assert client.answer() is None
    client.close()
    return error


def test_a_client_that_speaks_late_and_in_parts_is_told(first: RawClient, tmp_path: Path) -> None:
    late, early = silent(tmp_path / "pf"), silent(tmp_path / "pf")
    assert told(early) == errno.EBUSY
    message = HEADER.pack(0x4001, VERSION, HEADER.size + len(PROPOSAL), 0, 0) + PROPOSAL
    for part in (message[:7], message[7:18], message[18:]):
        late.socket.sendall(part)
        # Who comes meanwhile is told at once, by the thread that reads such parts too.
        assert told(silent(tmp_path / "pf")) == errno.EBUSY
        assert first.read(CONFIG, 0, 4) == PF
    answer = late.answer()
    assert answer is not None
    assert (answer.id, answer.command, answer.error) == (0x4001, VERSION, errno.EBUSY)
    assert late.answer() is None
    late.close()


def test_clients_that_say_nothing_keep_nobody_from_being_told(first: RawClient, tmp_path: Path) -> None:
    """Of more than LIMIT the one that has been silent longest is let go; all others are told when they ask."""
    clients = [silent(tmp_path / "pf") for _ in range(LIMIT + 3)]
    assert told(silent(tmp_path / "pf")) == errno.EBUSY
    assert [client.answer() for client in clients[:4]] == [None] * 4
    assert {told(client) for client in clients[4:]} == {errno.EBUSY}
    assert first.read(CONFIG, 0, 4) == PF
    for client in clients[:4]:
        client.close()


@pytest.mark.parametrize(
    ("head", "error"),
    [
        (HEADER.pack(1, VERSION, 5, 0, 0), errno.EINVAL),
        (HEADER.pack(1, VERSION, 0xFFFF_FFFF, 0, 0), errno.EINVAL),
        (HEADER.pack(1, VERSION, HEADER.size, 0, 0), errno.EBUSY),
        (HEADER.pack(1, VERSION, HEADER.size, REPLY, 0), None),
    ],
)
def test_what_is_no_message_ends_it(first: RawClient, tmp_path: Path, head: bytes, error: int | None) -> None:
    client = silent(tmp_path / "pf")
    client.socket.sendall(head)
    answer = client.answer()
    assert (answer and answer.error) == error
    assert error is None or client.answer() is None
    assert first.read(CONFIG, 0, 4) == PF
    client.close()


def test_who_came_while_another_host_had_the_function_holds_it_up_no_longer(
    die: LocalDie, server: VfioUserServer, tmp_path: Path
) -> None:
    with die.open(die.functions()[0]):
        client = silent(tmp_path / "pf")
        assert eventually(lambda: len(server._refusals._clients) == 1)
    # It has still said nothing, and whoever comes now is served.
    with RawClient(tmp_path / "pf") as served:
        served.reset()
        assert served.read(CONFIG, 0, 4) == PF
        assert told(client) == errno.EBUSY


def test_nothing_is_left_of_them(die: LocalDie, tmp_path: Path) -> None:
    def once() -> None:
        with VfioUserServer(die) as server:
            server.listen(tmp_path / "pf")
            with RawClient(tmp_path / "pf"):
                clients = [silent(tmp_path / "pf") for _ in range(LIMIT + 8)]
                clients.pop().close()
                server.close()
            for client in clients:
                assert client.answer() is None
                client.close()

    once()
    before = usage()
    for _ in range(5):
        once()
    assert not any(grew(before, usage))
