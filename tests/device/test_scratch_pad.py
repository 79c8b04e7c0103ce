"""The scratch pad: memory that the loader gives to control code which refers to it, and nobody else sees.

A compiled program keeps what its layers hand on in a workspace, its last argument. Here the same control code finds that memory
under the scratch pad's name instead: it must compute the same, and leave the same bytes there, in process and as an ioctl client.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from _files import opened
from _patience import PATIENCE
from _program import INNER, OUT, ROWS, array_step, expected, sample

from fauxdna.abi.elf import SCRATCH_PAD_SIZE
from fauxdna.abi.uapi_next import Level
from fauxdna.accel import AccelFile
from fauxdna.accel.machine import Machine
from fauxdna.artifact import elf
from fauxdna.runtime import Buffer
from fauxdna.runtime._loader import Constants, LoadedKernel
from fauxdna.runtime._queue import CommandQueue

COLUMNS = 2
WORKSPACE = "2"
"""The argument after input and output."""


@pytest.fixture(params=["local", "service"])
def file(host: Machine, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AccelFile]:
    with opened(request.param, host, tmp_path, Level.NEXT) as file:
        yield file


def memory_at(host: Machine, address: int) -> bytes:
    """What the device has at an address: the whole BO."""
    objects = [bo for function in host.nodes.values() for bo in function.memory._objects.values()]
    (bo,) = (bo for bo in objects if bo.address == address)
    return os.pread(bo.backing.fd, bo.size, bo.backing.offset)


def run(file: AccelFile, host: Machine, kernel: elf.Kernel, workspace: int) -> tuple[bytes, bytes]:
    """The output, and what is left in the memory that layers hand on."""
    x = sample(3)
    constants = Constants(file, kernel, COLUMNS)
    loaded = LoadedKernel(file, constants)
    queue = CommandQueue(file, COLUMNS)
    with Buffer(file, x.nbytes) as given, Buffer(file, 4 * OUT * ROWS) as made, Buffer(file, workspace) as kept:
        given.bytes[: x.nbytes] = x.reshape(-1).view(np.uint8)
        for argument, buffer in enumerate((given, made, kept)):
            if str(argument) in kernel.patches:
                loaded.bind(argument, buffer.address)
        queue.wait(queue.submit(loaded.entry), PATIENCE)
        output = bytes(made.bytes[: 4 * OUT * ROWS])
        left = memory_at(host, constants.addresses.get("scratch-pad-mem", kept.address))
        queue.close()
        loaded.close()
        constants.close()
    return output, left


def test_control_code_keeps_in_it_what_it_reads_again(file: AccelFile, host: Machine) -> None:
    step = array_step(COLUMNS)
    plain = elf.parse(step.elf).kernel()
    assert WORKSPACE in plain.patches
    moved = replace(
        plain, patches={"scratch-pad-mem" if symbol == WORKSPACE else symbol: item for symbol, item in plain.patches.items()}
    )
    output, workspace = run(file, host, plain, step.workspace)
    again, scratch = run(file, host, moved, step.workspace)
    wanted = expected(sample(3))
    assert np.array_equal(np.frombuffer(output, np.float32).reshape(wanted.shape), wanted)
    assert again == output
    assert len(scratch) == COLUMNS * SCRATCH_PAD_SIZE
    # The quantised input at least, which nothing else holds between the two layers.
    assert np.count_nonzero(np.frombuffer(scratch, np.uint8)) > INNER * ROWS // 2
    assert scratch[: step.workspace] == workspace[: step.workspace]
    assert not any(scratch[step.workspace :])


def test_each_context_has_its_own(file: AccelFile, host: Machine) -> None:
    step = array_step(COLUMNS)
    plain = elf.parse(step.elf).kernel()
    moved = replace(
        plain, patches={"scratch-pad-mem" if symbol == WORKSPACE else symbol: item for symbol, item in plain.patches.items()}
    )
    one, other = Constants(file, moved, COLUMNS), Constants(file, moved, COLUMNS)
    assert run(file, host, moved, step.workspace)[0]
    for constants in (one, other):
        assert not any(memory_at(host, constants.addresses["scratch-pad-mem"])), "nobody else's bytes"
        constants.close()
    assert one.addresses["scratch-pad-mem"] != other.addresses["scratch-pad-mem"]
