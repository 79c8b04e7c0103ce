"""What application code imports: an NPU, programs on it, buffers, runs.

::

    with fauxdna.open() as npu:
        program = fauxdna.compile("m.onnx")
        with npu.context(program) as context:
            outputs = context.run({"x": x})
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from fauxdna.abi.uapi import DeviceType
from fauxdna.accel.machine import Machine
from fauxdna.accel.real import RealFile

from ._buffer import Buffer, Tensor
from ._context import Context
from ._npu import Npu
from ._queue import CommandQueue
from ._report import LayerReport, Outputs, Report, StepReport

__all__ = [
    "Buffer",
    "CommandQueue",
    "Context",
    "LayerReport",
    "Npu",
    "Outputs",
    "Report",
    "StepReport",
    "Tensor",
    "open_npu",
]


def open_npu(
    node: str | os.PathLike[str] | None = None,
    *,
    trace: str | os.PathLike[str] | None = None,
    pace: str = "fast",
    cpu: int | None = None,
) -> Npu:
    """Opens an NPU: a new die in this process, or a real node.

    Args:
        node: A path such as ``/dev/accel/accel0``; by default a die is started, its PF brought up and one VF created.
        trace: A file that packets, pages, BDs and locks are written to as they are worked; a real node tells nothing.
        pace: For a die: ``"fast"`` as fast as the host can, ``"real"`` no faster than simulated time.
        cpu: For a die: the host CPU to pin its engine to.

    Raises:
        fauxdna.errors.FauxdnaError: The node can't be opened, or does not compute.
    """
    if node is not None:
        return Npu(RealFile(node), trace=trace)
    # Only who wants a die needs the device: a real node works without it.
    from fauxdna.firmware import image_loader
    from fauxdna.serve import LocalDie

    with ExitStack() as undo:
        die = undo.enter_context(LocalDie(pace=pace, cpu=cpu))
        machine = undo.enter_context(Machine(die, image_loader(), kick_fd=die.kick_fd, telemetry=die, log=die.log))
        log = die.log
        return Npu(machine.open(DeviceType.UMQ), undo.pop_all(), trace=trace, log=lambda: [str(entry) for entry in log.entries()])
