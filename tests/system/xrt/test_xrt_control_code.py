"""Control code that AMD's aiebu-asm made runs through XRT and through our runtime with equal results."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from _kernels import HEADER
from _xrt import EXAMPLES, Xrt

import fauxdna
from fauxdna.abi.uapi import HWCTX_ENTRY, ArrayParam, Ioctl, StateParam
from fauxdna.artifact.elf import parse

sys.path.insert(0, str(Path(__file__).parents[2] / "device"))
from _matmul import CONFIGURATION

M, K, N = 16, 64, 32
"""Of ``examples/control_code/matmul.asm``, as its first line says."""

pytestmark = pytest.mark.trixie

SETUP = """
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

def twice():
    for _ in range(2):
        run.start()
        state = run.wait()
        assert state == pyxrt.ert_cmd_state.ERT_CMD_STATE_COMPLETED, state
"""
RUN = f"""{SETUP}
twice()
for name, buffer in buffers:
    open(name + ".out", "wb").write(bytes(buffer.map()))
"""


def assembled(xrt: Xrt, name: str, configuration: dict[str, object], columns: int, text: str) -> bytes:
    xrt.need_scratch_pad(columns)
    for part in ("nested_setup.asm", "nested_programs.asm", "preempt_routes.asm"):
        xrt.add(part, (EXAMPLES / "control_code" / part).read_bytes())
    xrt.add(f"{name}.asm", text)
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
    text = (EXAMPLES / "control_code" / "matmul.asm").read_text()
    elf = assembled(xrt, "matmul", CONFIGURATION, 1, text.replace("3column", "1column"))
    a, b = random(M * K), random(K * N)
    out = np.zeros(4 * M * N, np.uint8)
    wanted = a.view(np.int8).reshape(M, K).astype(np.int32) @ b.view(np.int8).reshape(K, N).astype(np.int32)
    after = both(xrt, "matmul", elf, [a, b, out])
    assert after[2] == wanted.tobytes()


WORDS = {
    "jobs": [0xF1, 0x22, 0x122, 0x33, 0x44, 0x44, 0x55, 0x66],
    "barrier": [5, 6, 6, 5],
    "nested": [1, 2, 3],
}
"""What these leave in the first words of column 0's mem tile, as the comments on top of them say."""
READ_OUT = """
.eop
START_JOB 90
  POLL_32                 {last:#x}, {value}
  APPLY_OFFSET_57         @read_target, 1, 0
  UC_DMA_WRITE_DES_SYNC   @read_out
  WRITE_32                0x120014, 0x80000000
  WRITE_32                0x120040, 0x80000000
  WRITE_32                0x008064, 0x80000000
  WRITE_32                0x008000, 0x80000012
  WRITE_32                0x018544, 0x80000001
  WRITE_32                0x109E64, 0x00000000
  WAIT_TCTS               TILE_0_0, SHIM_S2MM_0, 1
END_JOB
EOF
.align 16
read_out:
  UC_DMA_BD 0, 0x108C00, @read_source, 3, 0, 1
  UC_DMA_BD 0, 0x018030, @read_target, 3, 0, 0
.align 4
read_source:
  .long 0x00800000
  .long {count}
  .long 0
read_target:
  .long 0
  .long 0
  .long {count}
"""
"""Takes words of column 0's mem tile to argument 0, once the last of them is there: what ``copy.asm`` does on its second half."""


def described(name: str) -> dict[str, object]:
    arguments = [{"name": f"a{index}", "type": "char *", "offset": hex(8 * index)} for index in range(3)]
    kernel = {"name": "DPU", "arguments": arguments, "instance": [{"id": "inst0", "ctrl_code_file": f"{name}.asm"}]}
    return {"xrt-kernels": [kernel]}


@pytest.mark.parametrize(("name", "columns"), [("jobs", 1), ("barrier", 2), ("nested", 1)])
def test_what_examples_leave_in_a_mem_tile(xrt: Xrt, name: str, columns: int) -> None:
    """``barrier`` runs on two micro-controllers: an indirect packet. ``nested`` has AMD's pages that save to a scratch pad."""
    words = WORDS[name]
    text = (EXAMPLES / "control_code" / f"{name}.asm").read_text().replace("3column", f"{columns}column")
    read_out = READ_OUT.format(last=0x100000 + 4 * (len(words) - 1), value=words[-1], count=len(words))
    elf = assembled(xrt, name, described(name), columns, text.replace("\nEOF\n", read_out, 1))
    after = both(xrt, name, elf, [random(4 * len(words)), random(4), random(8)])
    assert np.frombuffer(after[0], np.uint32).tolist() == words


@pytest.mark.parametrize(("name", "columns", "size"), [("copy", 1, 4096), ("columns", 3, 3 * 4096)])
def test_copies(xrt: Xrt, name: str, columns: int, size: int) -> None:
    text = (EXAMPLES / "control_code" / f"{name}.asm").read_text().replace("3column", f"{columns}column")
    elf = assembled(xrt, name, described(name), columns, text)
    given = random(size)
    after = both(xrt, name, elf, [given, np.zeros(size, np.uint8)])
    assert after == [given.tobytes(), given.tobytes()]


PREEMPTED = f"""{SETUP}
import ctypes, fcntl, os, struct
node = os.open("/dev/accel/accel0", os.O_RDWR)
entry = ctypes.create_string_buffer({HWCTX_ENTRY.size})
for forced in (0, 1, 0):
    state = ctypes.create_string_buffer(struct.pack("<Q", forced))
    words = struct.pack("<IIQ", {int(StateParam.FORCE_PREEMPT)}, 8, ctypes.addressof(state))
    fcntl.ioctl(node, {int(Ioctl.SET_STATE)}, words)
    buffers[1][1].map()[:] = bytes(4096)
    twice()
    words = struct.pack("<4IQ", {int(ArrayParam.HW_CONTEXT_ALL)}, {HWCTX_ENTRY.size}, 1, 0, ctypes.addressof(entry))
    fcntl.ioctl(node, {int(Ioctl.GET_ARRAY)}, words)
    preemptions, = struct.unpack_from("<Q", entry, {HWCTX_ENTRY.offsets["preemptions"]})
    print(preemptions, bytes(buffers[1][1].map()) == bytes(buffers[0][1].map()))
"""


def test_a_preempted_copy(xrt: Xrt) -> None:
    """AMD's assembler adds the pages that save and restore; a program of XRT runs free, preempted, and free again."""
    text = (EXAMPLES / "control_code" / "preempt.asm").read_text()
    elf = assembled(xrt, "preempt", described("preempt"), 1, text)
    given = random(4096)
    assert both(xrt, "preempt", elf, [given, np.zeros(4096, np.uint8)]) == [given.tobytes()] * 2
    done = xrt.run("python3", "-c", PREEMPTED, "preempt.elf", "DPU:inst0", "0.bin", "1.bin")
    assert done.stdout.splitlines() == ["0 True", "2 True", "2 True"]


def test_every_example_is_here() -> None:
    parts = (
        "nested_setup",
        "nested_programs",
        "preempt_routes",
        "every_instruction",
        "every_instruction_pdi",
        "every_instruction_cores",
    )
    there = {path.stem for path in (EXAMPLES / "control_code").glob("*.asm")}
    assert there == {"matmul", "copy", "columns", "preempt", *WORDS, *parts}


def test_xrt_writes_the_log_of_a_failed_run(xrt: Xrt) -> None:
    """By its own schema of the log's entries; the opcode is WRITE_32's, its place the page's third word."""
    text = HEADER + "START_JOB 0\n  WRITE_32 0x1FFFFC, 1\nEND_JOB\nEOF\n"
    assembled(xrt, "fault", described("fault"), 1, text)
    done = xrt.run("python3", "-c", RUN, "fault.elf", "DPU:inst0", check=False)
    assert "ERT_CMD_STATE_ERROR" in done.stderr
    (path,) = xrt.folder.glob("uc_log_*_0.txt")
    assert "[CERT] Invalid opcode: 0x5 @ 8\n" in path.read_text()
