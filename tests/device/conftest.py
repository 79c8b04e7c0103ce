"""Dies for tests: one whose engine only records, and whole ones under our driver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from _files import opened
from _host import RecordingEngine
from _machine import Machine
from _uapi import Program, Sandbox
from _vfio_user import CONFIG, RawClient

from fauxdna import _core
from fauxdna.accel import AccelFile
from fauxdna.accel.machine import Machine as DriverMachine
from fauxdna.device import Die
from fauxdna.firmware import image_loader
from fauxdna.serve import LocalDie
from fauxdna.serve.vfio_user import VfioUserServer


@pytest.fixture
def machine() -> Iterator[Machine]:
    engine = RecordingEngine()
    die = Die(engine=cast("_core.Engine", engine))
    yield Machine(die, engine)
    die.close()
    assert engine.closed
    assert not engine.contexts, "contexts outlived their die"


@pytest.fixture
def die() -> Iterator[LocalDie]:
    """A die with its own engine."""
    with LocalDie() as die:
        yield die


@pytest.fixture
def host(die: LocalDie) -> Iterator[DriverMachine]:
    """The die's functions under our driver, with one VF."""
    with DriverMachine(die, image_loader(), kick_fd=die.kick_fd, telemetry=die) as host:
        yield host


@pytest.fixture
def server(die: LocalDie, tmp_path: Path) -> Iterator[VfioUserServer]:
    """A vfio-user server of the die: sockets ``pf``, ``vf0`` and ``vf1`` in ``tmp_path``."""
    with VfioUserServer(die) as server:
        for name in ("pf", "vf0", "vf1"):
            server.listen(tmp_path / name, name)
        yield server


@pytest.fixture
def client(server: VfioUserServer, tmp_path: Path) -> Iterator[RawClient]:
    """A client of the PF that was reset and may access memory and DMA."""
    with RawClient(tmp_path / "pf") as client:
        client.reset()
        client.write(CONFIG, 4, b"\6\0")
        yield client


@pytest.fixture
def sandbox(host: DriverMachine) -> Iterator[Sandbox]:
    """A sandbox whose ioctls are answered from that machine."""
    with Sandbox(host) as sandbox:
        yield sandbox


@pytest.fixture
def program(sandbox: Sandbox) -> Program:
    """A program in it, with an open node."""
    return sandbox.open()


@pytest.fixture(params=["local", "real", "service"])
def file(request: pytest.FixtureRequest, host: DriverMachine, tmp_path: Path) -> Iterator[AccelFile]:
    """An open file of the VF's node, through each door."""
    with opened(request.param, host, tmp_path) as file:
        yield file


@pytest.fixture(params=["local", "real"])
def mapping_file(request: pytest.FixtureRequest, host: DriverMachine, tmp_path: Path) -> Iterator[AccelFile]:
    """An open file through each door where mmap is the driver's: a program of the ioctl service maps its node's file itself."""
    with opened(request.param, host, tmp_path) as file:
        yield file
