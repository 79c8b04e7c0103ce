"""What goes wrong under a client, or with one: the connection goes on, or all that the client had is taken back."""

from __future__ import annotations

import errno
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from _host import SRIOV_CAPABILITY
from _patience import PATIENCE, eventually
from _usage import grew, usage
from _vfio_user import CONFIG, EVENTFD, REGION_WRITE, TRIGGER, VERSION, RawClient, memfd

from fauxdna.device.pf import PhysicalFunction
from fauxdna.serve import LocalDie, slot
from fauxdna.serve.vfio_user import VfioUserServer

PAGE = 4096


def healthy(folder: Path) -> None:
    """Whoever comes at once is served."""
    with RawClient(folder / "pf") as client:
        client.reset()
        assert client.read(CONFIG, 0, 4) == bytes.fromhex("2210f217")


def said(die: LocalDie, text: str) -> bool:
    return any(text in str(entry) for entry in die.log.entries())


def fail(number: int) -> Callable[..., None]:
    def failing(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return failing


def test_what_the_device_lacks_is_an_errno(
    server: VfioUserServer, die: LocalDie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An OSError of the system's that a register write meets: told to the client that still waits, and in the log."""
    with RawClient(tmp_path / "pf") as client:
        client.reset()
        with monkeypatch.context() as broken:
            broken.setattr(slot.Slot, "region_write", fail(errno.EMFILE))
            client.write(CONFIG, 4, b"\6\0", error=errno.EMFILE)
            client.write(0, 0x100, bytes(4))  # Answered before it is done.
            client.read(CONFIG, 0, 4)
        assert said(die, "REGION_WRITE refused (EMFILE): Too many open files")
        assert said(die, "a write that was answered failed: Too many open files")
        with monkeypatch.context() as broken:
            broken.setattr(slot.Slot, "region_read", fail(errno.ENOMEM))
            client.read(CONFIG, 0, 4, error=errno.ENOMEM)
        client.write(CONFIG, 4, b"\6\0")
        assert client.read(CONFIG, 4, 2) == b"\6\0"
    assert server.statistics.errors == 2


@pytest.mark.parametrize(("name", "number"), [("allocate", errno.EMFILE), ("AddressSpace", errno.ENOMEM)])
def test_a_place_that_can_not_be_had(
    server: VfioUserServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    """The client is told why, and the function is not taken."""
    with monkeypatch.context() as broken:
        broken.setattr(slot, name, lambda *_, **__: fail(number)())
        client = RawClient(tmp_path / "pf", negotiate=False)
        assert client.ask(VERSION, struct.pack("<HH", 0, 1)).error == number
        client.close()
    healthy(tmp_path)


def test_a_function_that_can_not_be_plugged_in_is_not_taken(die: LocalDie, monkeypatch: pytest.MonkeyPatch) -> None:
    before = usage()
    with monkeypatch.context() as broken:
        broken.setattr(PhysicalFunction, "enable_memory", fail(errno.EIO))
        with pytest.raises(OSError, match="Input/output"):
            die.hold()
    die.hold().close()
    assert not any(grew(before, usage))


def test_maps_that_a_client_leaves_are_counted(server: VfioUserServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = memfd(PAGE)
    with monkeypatch.context() as broken:
        broken.setattr(slot.Slot, "dma_unmap_all", lambda _: None)
        with RawClient(tmp_path / "pf") as client:
            client.map(0, memory, 0, PAGE)
            assert server.dma_maps == 1
        assert eventually(lambda: server.clients == ())
    assert server.dma_maps == 1
    with RawClient(tmp_path / "pf") as client:
        client.map(0, memory, 0, PAGE)
        assert server.dma_maps == 2
    assert eventually(lambda: server.clients == ())
    assert server.dma_maps == 1
    os.close(memory)


def test_cleaning_up_goes_on_past_what_fails(
    server: VfioUserServer, die: LocalDie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory, eventfds and the place itself come back although the function's own release failed."""
    healthy(tmp_path)
    before = usage()
    memory, event = memfd(PAGE), os.eventfd(0, os.EFD_NONBLOCK)
    with monkeypatch.context() as broken:
        broken.setattr(PhysicalFunction, "release", fail(errno.EIO))
        with RawClient(tmp_path / "pf") as client:
            client.map(0, memory, 0, PAGE)
            client.set_irqs(EVENTFD | TRIGGER, 0, 1, fds=[event])
    assert said(die, "what a client left is not all cleaned up: Input/output error")
    healthy(tmp_path)
    assert server.clients == ()
    assert server.dma_maps == 0
    os.close(memory)
    os.close(event)
    assert not any(grew(before, usage))


def test_a_vmms_callback_that_fails_is_called_again(die: LocalDie, tmp_path: Path) -> None:
    counts: list[int] = []
    changed = threading.Semaphore(0)

    def callback(count: int) -> None:
        counts.append(count)
        changed.release()
        raise RuntimeError("a VMM's own")

    with VfioUserServer(die, callback) as server:
        server.listen(tmp_path / "pf")
        with RawClient(tmp_path / "pf") as client:
            client.reset()
            for control in (9, 0, 9):
                client.write(CONFIG, SRIOV_CAPABILITY + 0x10, b"\2\0")
                client.write(CONFIG, SRIOV_CAPABILITY + 8, bytes([control, 0]))
                assert changed.acquire(timeout=PATIENCE)
    assert counts[:3] == [2, 0, 2]
    assert said(die, "on_vf_enable(2) failed: RuntimeError: a VMM's own")


def test_a_vmm_that_vanishes_as_it_enables_vfs(server: VfioUserServer, die: LocalDie, tmp_path: Path) -> None:
    """VF Enable is on its way, and nobody is left to read the answer; VFs' clients vanish with it, in either order."""
    healthy(tmp_path)
    memory = memfd(PAGE)
    before = usage()
    for number in range(40):
        clients = [RawClient(tmp_path / name) for name in ("pf", "vf0", "vf1")]
        for client in clients:
            client.map(0, memory, 0, PAGE)
        clients[0].reset()
        clients[0].write(CONFIG, SRIOV_CAPABILITY + 0x10, b"\2\0")
        clients[0].post(REGION_WRITE, struct.pack("<QII", SRIOV_CAPABILITY + 8, CONFIG, 2) + b"\x09\0")
        for client in clients if number % 2 else reversed(clients):
            client.socket.close()
        healthy(tmp_path)
        with RawClient(tmp_path / "vf0") as vf:
            vf.reset()
            assert vf.read(CONFIG, 0, 4) == b"\xff" * 4
    assert die.functions() == ("0000:05:00.0",)
    assert server.dma_maps == 0
    os.close(memory)
    assert not any(grew(before, usage))


CLIENT = """
import sys
from fauxdna.accel.machine import Machine
from fauxdna.bus.vfio_user import VfioUserHost
from fauxdna.firmware import image_loader
sys.path[:0] = sys.argv[3:]
host = VfioUserHost({f"0000:05:00.{number}": f"{sys.argv[1]}/{name}" for number, name in enumerate(("pf", "vf0", "vf1"))})
machine = Machine(host, image_loader(), vfs=1)
if sys.argv[2] == "vfs":
    print("running", flush=True)
    while True:
        machine.set_vfs(0)
        machine.set_vfs(2)
from _program import program, sample
from fauxdna.runtime import Npu
with machine.open() as file, Npu(file) as npu, npu.context(program()) as context:
    while True:
        context.run({"x": sample(1)})
        print("running", flush=True)
"""


@pytest.mark.parametrize("what", ["vfs", "model"])
def test_a_client_that_is_killed_at_its_work(server: VfioUserServer, die: LocalDie, tmp_path: Path, what: str) -> None:
    """SIGKILL while VFs come and go, or while the device reads and writes the client's memory; the next client comes at once."""
    moments, before = random.Random(what), usage()
    command = [sys.executable, "-c", CLIENT, str(tmp_path), what, str(Path(__file__).parent)]
    for _ in range(4):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            assert client.stdout is not None
            assert client.stdout.readline() == "running\n"
            time.sleep(moments.uniform(0, 0.05))
            client.send_signal(signal.SIGKILL)
            client.wait()
        healthy(tmp_path)
        with RawClient(tmp_path / "vf0") as vf:
            vf.reset()
            assert vf.read(CONFIG, 0, 4) == b"\xff" * 4
    assert die.functions() == ("0000:05:00.0",)
    assert server.dma_maps == 0
    assert not any(grew(before, usage))
