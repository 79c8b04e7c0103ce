"""Dies for tests: one whose engine only records, and whole ones under our driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
from _doors import DecodingKernel
from _host import RecordingEngine
from _machine import Machine
from _uapi import Program, Sandbox, ServiceKernel

from fauxdna import _core
from fauxdna.accel import AccelFile
from fauxdna.accel.machine import Machine as DriverMachine
from fauxdna.accel.real import RealFile
from fauxdna.device import Die
from fauxdna.firmware import build_images
from fauxdna.serve import LocalDie


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
    images = build_images()
    with DriverMachine(die, lambda path: images[path.rpartition("/")[2]], kick_fd=die.kick_fd, telemetry=die) as host:
        yield host


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
    with _open(request.param, host, tmp_path) as file:
        yield file


@pytest.fixture(params=["local", "real"])
def mapping_file(request: pytest.FixtureRequest, host: DriverMachine, tmp_path: Path) -> Iterator[AccelFile]:
    """An open file through each door where mmap is the driver's: a program of the ioctl service maps its node's file itself."""
    with _open(request.param, host, tmp_path) as file:
        yield file


@contextmanager
def _open(door: str, host: DriverMachine, folder: Path) -> Iterator[AccelFile]:
    node = folder / "accel0"
    node.touch()
    if door == "service":
        with Sandbox(host) as sandbox:
            kernel = ServiceKernel(sandbox)
            with RealFile(node, kernel) as real:
                yield real
            kernel.program.close()
        return
    with host.open() as local:
        if door == "local":
            yield local
        else:
            with RealFile(node, DecodingKernel(local)) as real:
                yield real
