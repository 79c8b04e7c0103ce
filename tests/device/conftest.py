"""A die whose engine only records, reached through the bus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from _doors import DecodingKernel
from _host import Mailbox, RecordingEngine, set_num_vfs, start_pf

from fauxdna import _core
from fauxdna.accel import AccelFile
from fauxdna.accel.machine import Machine as DriverMachine
from fauxdna.accel.real import RealFile
from fauxdna.bus.local import LocalBus
from fauxdna.device import Die
from fauxdna.firmware import build_images
from fauxdna.log import Level
from fauxdna.serve import LocalDie


@dataclass
class Machine:
    """A die and the buses to its functions."""

    die: Die
    engine: RecordingEngine
    images: dict[str, bytes] = field(default_factory=lambda: dict(build_images()))

    def open(self, bdf: str) -> LocalBus:
        function = self.die.functions()[bdf]
        function.enable_memory()
        return LocalBus(function, lambda: None)

    def pf(self) -> LocalBus:
        return self.open("0000:05:00.0")

    def started_pf(self) -> tuple[LocalBus, Mailbox]:
        bus = self.pf()
        return bus, start_pf(bus, self.images)

    def started_vf(self, count: int = 1) -> tuple[LocalBus, Mailbox, LocalBus]:
        """PF started, VFs created and enabled; gives the PF's bus and mailbox and the first VF's bus."""
        bus, channel = self.started_pf()
        assert channel.call("CREATE_VFS", vf_count=count).status == 0
        set_num_vfs(bus, count)
        return bus, channel, self.open("0000:05:00.1")

    def errors(self) -> str:
        """What the log says at level warning or above."""
        return "\n".join(str(entry) for entry in self.die.log.entries(Level.WARNING))


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


@pytest.fixture(params=["local", "real"])
def file(request: pytest.FixtureRequest, host: DriverMachine, tmp_path: Path) -> Iterator[AccelFile]:
    """An open file of the VF's node, through each door."""
    local = host.open()
    if request.param == "local":
        yield local
    else:
        node = tmp_path / "accel0"
        node.touch()
        with RealFile(node, DecodingKernel(local)) as real:
            yield real
    local.close()
