"""A die whose engine only records, and the buses to its functions."""

from __future__ import annotations

from dataclasses import dataclass, field

from _host import Mailbox, RecordingEngine, set_num_vfs, start_pf

from fauxdna.bus.local import LocalBus
from fauxdna.device import Die
from fauxdna.firmware import build_images
from fauxdna.log import Level


@dataclass
class Machine:
    """A die and the buses to its functions."""

    die: Die
    engine: RecordingEngine
    images: dict[str, bytes] = field(default_factory=lambda: dict(build_images(protocol=(5, 10))))

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
