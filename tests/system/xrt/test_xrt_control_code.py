"""Control code that AMD's aiebu-asm made runs through XRT and through our runtime with equal results."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from _xrt import EXAMPLES, Xrt

import fauxdna
from fauxdna.artifact.elf import parse

sys.path.insert(0, str(Path(__file__).parents[2] / "device"))
from _matmul import CONFIGURATION

M, K, N = 16, 64, 32
"""Of ``examples/control_code/matmul.asm``, as its first line says."""
COLUMNS = 3
"""An ELF that names no partition gets them all."""

pytestmark = pytest.mark.trixie

RUN = """
import sys, pyxrt
device = pyxrt.device(0)
context = pyxrt.hw_context(device, pyxrt.elf(sys.argv[1]))
run = pyxrt.run(pyxrt.ext.kernel(context, sys.argv[2]))
buffers = []
for index, name in enumerate(sys.argv[3:]):
    data = open(name, "rb").read()
    buffer = pyxrt.ext.bo(device, len(data))
    buffer.map()[:] = data
    run.set_arg(index, buffer)
    buffers.append((name, buffer))
for _ in range(2):
    run.start()
    state = run.wait()
    assert state == pyxrt.ert_cmd_state.ERT_CMD_STATE_COMPLETED, state
for name, buffer in buffers:
    open(name + ".out", "wb").write(bytes(buffer.map()))
"""


def assembled(xrt: Xrt, name: str, configuration: dict[str, object]) -> bytes:
    xrt.need_scratch_pad(COLUMNS)
    for source in (EXAMPLES / "control_code").iterdir():
        xrt.add(source.name, source.read_bytes())
    xrt.add("config.json", json.dumps(configuration))
    options = ("-t", "aie4_config", "-j", "config.json", "-o", f"{name}.elf", "-f", "disabledump")
    xrt.run("aiebu-asm", *options)
    return xrt.read(f"{name}.elf")


def both(xrt: Xrt, name: str, elf: bytes, buffers: list[np.ndarray[tuple[int], np.dtype[np.uint8]]]) -> list[bytes]:
    """What all buffers hold after runs through XRT; the same as through our runtime."""
    names = [xrt.add(f"{index}.bin", buffer.tobytes()) for index, buffer in enumerate(buffers)]
    kernel = parse(elf).kernel()
    xrt.run("python3", "-c", RUN, f"{name}.elf", f"{kernel.name}:{kernel.instance}", *names)
    with fauxdna.open() as npu:
        npu.run_elf(elf, buffers)
    after = [xrt.read(f"{file}.out") for file in names]
    assert after == [buffer.tobytes() for buffer in buffers]
    return after


def random(size: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.random.default_rng(size).integers(0, 256, size, np.uint8)


def test_matrix_product(xrt: Xrt) -> None:
    elf = assembled(xrt, "matmul", CONFIGURATION)
    a, b = random(M * K), random(K * N)
    out = np.zeros(4 * M * N, np.uint8)
    wanted = a.view(np.int8).reshape(M, K).astype(np.int32) @ b.view(np.int8).reshape(K, N).astype(np.int32)
    after = both(xrt, "matmul", elf, [a, b, out])
    assert after[2] == wanted.tobytes()


@pytest.mark.parametrize("name", ["copy", "jobs", "barrier"])
def test_examples(xrt: Xrt, name: str) -> None:
    """``barrier`` runs on two micro-controllers: an indirect packet."""
    arguments = [{"name": f"a{index}", "type": "char *", "offset": hex(8 * index)} for index in range(3)]
    kernel = {"name": "DPU", "arguments": arguments, "instance": [{"id": "inst0", "ctrl_code_file": f"{name}.asm"}]}
    elf = assembled(xrt, name, {"xrt-kernels": [kernel]})
    before = [random(8192), np.zeros(8192, np.uint8), np.zeros(8192, np.uint8)]
    after = both(xrt, name, elf, [buffer.copy() for buffer in before])
    if name == "copy":
        assert after != [buffer.tobytes() for buffer in before]
