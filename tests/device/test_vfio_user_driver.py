"""Our own driver over vfio-user sockets: the same functions, another bus."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from _doors import HandMadeQueue

from fauxdna.accel.machine import Machine
from fauxdna.bus.vfio_user import VfioUserHost
from fauxdna.firmware import build_images
from fauxdna.serve import LocalDie
from fauxdna.serve.vfio_user import VfioUserServer


@pytest.fixture
def server(die: LocalDie, tmp_path: Path) -> Iterator[VfioUserServer]:
    with VfioUserServer(die) as server:
        for function in ("pf", "vf0", "vf1"):
            server.listen(tmp_path / function, function)
        yield server


@pytest.fixture
def sockets(server: VfioUserServer, tmp_path: Path) -> VfioUserHost:
    return VfioUserHost({f"0000:05:00.{number}": tmp_path / name for number, name in enumerate(("pf", "vf0", "vf1"))})


def machine(host: VfioUserHost, vfs: int) -> Machine:
    images = build_images()
    return Machine(host, lambda path: images[path.rpartition("/")[2]], vfs=vfs)


def test_a_packet_on_each_of_two_vfs(server: VfioUserServer, sockets: VfioUserHost) -> None:
    """TEST packets complete with 4 (ERT_CMD_STATE_COMPLETED); afterwards nobody holds anything."""
    with machine(sockets, 2) as host:
        assert list(host.nodes) == ["0000:05:00.0", "0000:05:00.1", "0000:05:00.2"]
        for bdf in list(host.nodes)[1:]:
            with host.open(bdf=bdf) as file:
                queue = HandMadeQueue(file, padded=True)
                sequence = queue.put()
                file.wait_cmd(queue.handle, sequence, 10_000)
                assert queue.completion(sequence) == 4
                queue.close()
        assert set(server.clients) == {"pf", "vf0", "vf1"}
        assert server.messages["DMA_MAP"] >= 4  # Two firmware images, and a queue on each VF.
    assert server.clients == ()
    assert server.dma_maps == 0
