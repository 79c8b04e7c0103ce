"""An open file of a VF's node, through each door to our driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from _doors import DecodingKernel
from _uapi import Sandbox, ServiceKernel

from fauxdna.abi.uapi_next import Level
from fauxdna.accel import AccelFile
from fauxdna.accel.machine import Machine
from fauxdna.accel.real import RealFile


@contextmanager
def opened(door: str, host: Machine, folder: Path, level: Level = Level.LINUX_7_2) -> Iterator[AccelFile]:
    """The driver's file (``local``), a real node's client over it (``real``), or that over the ioctl service (``service``)."""
    node = folder / "accel0"
    node.touch()
    if door == "service":
        with Sandbox(host, level=level) as sandbox:
            kernel = ServiceKernel(sandbox)
            with RealFile(node, kernel) as real:
                yield real
            kernel.program.close()
        return
    with host.open(level=level) as local:
        if door == "local":
            yield local
        else:
            with RealFile(node, DecodingKernel(local)) as real:
                yield real
