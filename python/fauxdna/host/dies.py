"""A die in this process with its driver, brought up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fauxdna.abi import array
from fauxdna.accel.machine import Machine
from fauxdna.firmware import image_loader
from fauxdna.log import Log
from fauxdna.serve import LocalDie


@contextmanager
def bring_up(
    bdf: str, *, vfs: int = 1, columns: int = array.COLUMNS, pace: str = "fast", log: Log | None = None
) -> Iterator[Machine]:
    """A machine of one die whose PF is called ``bdf`` and which has ``vfs`` VFs; ends with the context."""
    with (
        LocalDie(bdf, columns=columns, pace=pace, log=log) as die,
        Machine(die, image_loader(), vfs=vfs, kick_fd=die.kick_fd, telemetry=die, log=die.log) as machine,
    ):
        yield machine
