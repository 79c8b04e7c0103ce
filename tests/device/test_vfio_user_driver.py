"""Our own driver over vfio-user sockets: the same functions, another bus."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from _doors import HandMadeQueue
from _patience import PATIENCE, PATIENCE_MS
from _program import expected, program, sample

from fauxdna.abi.uapi import DeviceType
from fauxdna.accel.machine import Machine
from fauxdna.bus import BusError, Region
from fauxdna.bus.vfio_user import VfioUserBus, VfioUserHost
from fauxdna.driver import Pf, probe
from fauxdna.firmware import image_loader
from fauxdna.runtime import Npu
from fauxdna.serve import LocalDie
from fauxdna.serve.vfio_user import VfioUserServer


@pytest.fixture
def sockets(server: VfioUserServer, tmp_path: Path) -> VfioUserHost:
    return VfioUserHost({f"0000:05:00.{number}": tmp_path / name for number, name in enumerate(("pf", "vf0", "vf1"))})


def machine(host: VfioUserHost, vfs: int) -> Machine:
    return Machine(host, image_loader(), vfs=vfs)


def test_a_packet_on_each_of_two_vfs(server: VfioUserServer, sockets: VfioUserHost) -> None:
    """TEST packets complete with 4 (ERT_CMD_STATE_COMPLETED); afterwards nobody holds anything."""
    with machine(sockets, 2) as host:
        assert list(host.nodes) == ["0000:05:00.0", "0000:05:00.1", "0000:05:00.2"]
        for bdf in list(host.nodes)[1:]:
            with host.open(bdf=bdf) as file:
                queue = HandMadeQueue(file, padded=True)
                sequence = queue.put()
                file.wait_cmd(queue.handle, sequence, PATIENCE_MS)
                assert queue.completion(sequence) == 4
                queue.close()
        assert set(server.clients) == {"pf", "vf0", "vf1"}
        assert server.messages["DMA_MAP"] >= 4  # Two firmware images, and a queue on each VF.
    assert server.clients == ()
    assert server.dma_maps == 0


def test_a_model_with_driver_and_device_in_two_processes(tmp_path: Path) -> None:
    """An int8 matrix product: packets by the mapped doorbell page, waits by MSI-X eventfd, memory by descriptors."""
    command = [sys.executable, "-m", "fauxdna", "serve", "--vfio-user", tmp_path, "--vfs", "1", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as device:
        assert device.stdout is not None
        try:
            sockets = json.loads("".join(iter(device.stdout.readline, "}\n")) + "}")["sockets"]
            with machine(VfioUserHost({"0000:05:00.0": sockets["pf"], "0000:05:00.1": sockets["vf0"]}), 1) as host:
                file = host.open()
                assert file.kick_fd is None
                with Npu(file) as npu, npu.context(program()) as context:
                    for seed in range(3):
                        x = sample(seed)
                        np.testing.assert_array_equal(context.run({"x": x})["y"], expected(x))
        finally:
            device.terminate()
        assert device.wait(PATIENCE) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_ends_under_its_client(die: LocalDie, tmp_path: Path) -> None:
    """The bus says so from then on; nothing hangs."""
    server = VfioUserServer(die)
    server.listen(tmp_path / "pf")
    bus = VfioUserBus(tmp_path / "pf")
    server.close()
    with pytest.raises(BusError) as error:
        bus.region_read(Region.CONFIG, 0, 4)
    assert error.value.errno in (errno.ENODEV, errno.EPIPE, errno.ECONNRESET)
    bus.close()
    with pytest.raises(BusError, match="start a server there"):
        VfioUserBus(tmp_path / "pf")


def test_vfs_for_clients_while_the_pf_is_driven_here(die: LocalDie, tmp_path: Path) -> None:
    """As a hypervisor's host: PF and VF 0 in this process, VF 1 on a socket."""
    with (
        Machine(die, image_loader(), vfs=1) as host,
        VfioUserServer(die) as server,
    ):
        server.listen(tmp_path / "vf0", 0)
        with pytest.raises(BusError) as error:
            VfioUserBus(tmp_path / "vf0")
        assert error.value.errno == errno.EBUSY
        host.set_vfs(0)
        with VfioUserBus(tmp_path / "vf0") as bus:
            pf = host.find(DeviceType.PF)
            assert isinstance(pf, Pf)
            assert bus.region_read(Region.CONFIG, 0, 4) == b"\xff" * 4
            pf.sriov_configure(1)
            assert bus.region_read(Region.CONFIG, 0, 4) == bytes.fromhex("2210f317")
            with probe(bus, "0000:05:00.1") as vf:
                assert vf.started


def test_64_vfs_on_64_sockets(die: LocalDie, tmp_path: Path) -> None:
    """A packet completes on each, and with the PF's VF Enable they all vanish."""
    names = ["pf", *(f"vf{index}" for index in range(64))]
    with VfioUserServer(die) as server:
        for name in names:
            server.listen(tmp_path / name, name)
        # Routing ids 0x500 + 1 to 0x500 + 64: bus 5, device = id >> 3, function = id & 7.
        places = ["0000:05:00.0", *(f"0000:05:{vf >> 3:02x}.{vf & 7}" for vf in range(1, 65))]
        sockets = VfioUserHost({bdf: tmp_path / name for bdf, name in zip(places, names, strict=True)})
        with machine(sockets, 64) as host:
            assert sorted(host.nodes) == sorted(places)
            for bdf in places[1:]:
                with host.open(bdf=bdf) as file:
                    queue = HandMadeQueue(file, padded=True)
                    file.wait_cmd(queue.handle, queue.put(), PATIENCE_MS)
                    queue.close()
            assert len(server.clients) == 65
            host.set_vfs(0)
        with VfioUserBus(tmp_path / "vf63") as bus:
            assert bus.region_read(Region.CONFIG, 0, 4) == b"\xff" * 4
        assert server.dma_maps == 0
