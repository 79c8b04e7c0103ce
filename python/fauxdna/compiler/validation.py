"""The test programs of ``xrt-smi validate`` for this device, in the archive that XRT 2.25 asks for.

AMD's archive for NPU3 is in no public package. This one has programs of our own under the names that XRT takes from it
(``tools/common/tests/Test*.cpp``), and the table by which ``xrt-smi examine --event-trace`` reads firmware's events.
"""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np

from ..abi import array, firmware_ring
from ..abi.array import CoreEvent, tile_address
from ..abi.control_code import UC_PER_COLUMN, Opcode
from ..abi.firmware_ring import EVENT_ARGUMENTS, Category, EventId
from ..abi.tile_program import CONV2D, FILL, ElementType, Requantise
from ..abi.tile_program import Opcode as TileOpcode
from ..artifact import archive, elf_writer
from . import codegen, ir, streams
from .control_code import ControlCode, Patch, Transfer, operation, write
from .tile_code import assemble

ARCHIVE: Final = "xrt_smi_npu3.a"
"""What XRT looks for in ``amdxdna/bins`` of its platform repositories."""
README: Final = b"Test programs of fauxdna for xrt-smi validate; not AMD's.\n"
ROWS, INNER, COLUMNS = 64, 128, 128
"""C[64][128] = A[64][128] * B[128][128]: 2,097,152 additions and multiplications, ``total_ops_npu3`` of XRT's TestGemm.cpp, which
turns a core's cycles into TOPS by that."""
A, B, C = 0x0000, 0x2000, 0x8000
"""Where a core has its matrices: int8, int8 packed, int32."""
A_VALUE, B_VALUE = 3, -2

_LATENCY_ITERATIONS: Final = 2000
_LIST: Final = 24
"""Runs of a run list, which XRT hands over as one."""
_LIST_ITERATIONS: Final = 200
_BEGIN, _END = 0, 1
"""EVENTs of a core around what is counted."""


def empty() -> bytes:
    """The ELF of a kernel that does nothing, for one column; it takes a buffer and leaves it alone."""
    pages, references = ControlCode(0).finish()
    return elf_writer.write({0: pages}, references, b"", arguments=1, columns=1)


def gemm() -> bytes:
    """The ELF of a kernel that has each core of three columns multiply two matrices.

    The cores' cycles go to micro-controller 0's debug buffer, as pairs of core and cycles. It has an argument, which XRT leaves
    unset: XRT knows no ELF kernel without any.
    """
    code = ControlCode(0)
    program = _gemm_program()
    cores = [(column, array.FIRST_CORE_ROW + row) for column in range(array.COLUMNS) for row in range(array.CORE_ROWS)]
    tiles = [tile_address(column, row) for column, row in cores]
    code.transfer(Transfer(tile + array.CORE_PROGRAM, program) for tile in tiles)
    events = array.COUNTER_CONTROL.encode(start=CoreEvent.INSTRUCTION_0 + _BEGIN, stop=CoreEvent.INSTRUCTION_0 + _END)[0]
    for tile in tiles:
        code.operate(
            write(tile + array.CORE_COUNTER_CONTROL, events)
            + write(tile + array.CORE_COUNTER, 0)
            + write(tile + array.CORE_CONTROL, array.CORE_CONTROL_RESET)
            + write(tile + array.CORE_CONTROL, array.CORE_CONTROL_ENABLE)
        )
    for number, tile in enumerate(tiles):
        halted = array.CORE_STATUS_HALTED
        code.operate(
            operation(Opcode.MASK_POLL_32, address=tile + array.CORE_STATUS, mask=halted, value=halted)
            + operation(Opcode.SAVE_REGISTER, address=tile + array.CORE_COUNTER, id=number)
        )
    pages, references = code.finish()
    return elf_writer.write({0: pages}, references, b"", arguments=1, columns=array.COLUMNS)


def _gemm_program() -> bytes:
    """Fills A and B, and multiplies between two events."""

    def fill(address: int, size: int, value: int) -> tuple[int, tuple[int, ...], bytes]:
        return (int(TileOpcode.FILL), (address,), FILL.pack(rows=1, row_bytes=size, pitch=size, value=value & 0xFF))

    product = CONV2D.pack(
        out_height=1,
        out_width=ROWS,
        out_channels=COLUMNS,
        in_channels=INNER,
        kernel_height=1,
        kernel_width=1,
        stride_height=1,
        stride_width=1,
        dilation_height=1,
        dilation_width=1,
        in_row_pitch=ROWS * INNER,
        in_pixel_pitch=INNER,
        out_row_pitch=ROWS * COLUMNS * 4,
        out_pixel_pitch=COLUMNS * 4,
        in_type=ElementType.S8,
        out_type=ElementType.S32,
        requantise=Requantise.NONE,
    )
    return assemble(
        [
            fill(A, ROWS * INNER, A_VALUE),
            fill(B, INNER * COLUMNS, B_VALUE),
            (int(TileOpcode.EVENT), (_BEGIN,), b""),
            (int(TileOpcode.CONV2D), (A, B, C, C), product),
            (int(TileOpcode.EVENT), (_END,), b""),
            (int(TileOpcode.HALT), (), b""),
        ]
    )


def tokens(columns: int) -> bytes:
    """The ELF of a kernel that waits, in each column, for the task-complete token of a DMA that reads a word of its argument."""
    pages, references = {}, []
    for column in range(columns):
        code = ControlCode(UC_PER_COLUMN * column)
        shim, mem = tile_address(column, array.SHIM_ROW), tile_address(column, array.MEM_ROW)
        code.transfer(streams.circuits(column))
        code.transfer(
            [
                Transfer(mem + array.MEM_BD_S2MM, array.MEM_BD_WORDS.pack(address=array.MEM_WINDOW // 4, length=1)),
                Transfer(shim + array.SHIM_BD, array.SHIM_BD_WORDS.pack(length=1), (Patch(0, "0"),)),
            ]
        )
        code.operate(
            write(mem + array.MEM_S2MM_START, 0)
            + write(shim + array.SHIM_MM2S_START, array.START_QUEUE.encode(token=1)[0])
            + operation(
                Opcode.WAIT_TCTS,
                tile=array.tile_id(column, array.SHIM_ROW),
                actor=array.SHIM_ACTOR_MM2S[0],
                count=1,
            )
        )
        pages[UC_PER_COLUMN * column], found = code.finish()
        references += found
    return elf_writer.write(pages, references, b"", arguments=1, columns=columns)


def _sanity() -> dict[str, bytes]:
    """A convolution of a column's four cores, whose output XRT compares with numpy's, byte by byte."""
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (16, 24, 24))
    weights = rng.integers(-128, 128, (32, 16, 3, 3))
    y = np.einsum("ocij,cyxij->oyx", weights, np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2)))
    given = ir.Tensor("given", 24, 24, 16, ElementType.F32, ir.Layout.PLANES)
    source = ir.Tensor("source", 24, 24, 16, ElementType.S8)
    result = ir.Tensor("result", 22, 22, 32, ElementType.S32)
    out = ir.Tensor("out", 22, 22, 32, ElementType.S32, ir.Layout.PLANES)
    layers = (
        ir.Convert("quantise", (given,), source, clamp_low=-128, clamp_high=127),
        ir.Conv("convolve", (source,), result, weights=weights.astype(np.int8), stage=ir.OutputStage()),
        ir.Convert("order", (result,), out),
    )
    generated = codegen.generate(ir.Segment("sanity", (given,), (out,), layers), columns=1)
    data = {"ifm": x.astype("<f4").tobytes(), "ofm": y.astype("<i4").tobytes()}
    buffers = [("ifm", "input", len(data["ifm"])), ("ofm", "output", len(data["ofm"]))]
    bindings = [
        {"name": "ifm", "size": len(data["ifm"]), "init": {"file": "ifm_sanity_npu3.bin"}},
        {"name": "ofm", "size": len(data["ofm"]), "validate": {"file": "ofm_sanity_npu3.bin"}},
    ]
    return {
        "control_sanity_npu3.elf": generated.elf,
        "recipe_sanity_npu3.json": _recipe("control_sanity_npu3.elf", [*buffers, ("work", "internal", generated.workspace)]),
        "profile_sanity_npu3.json": _profile(10, bindings),
    } | {f"{name}_sanity_npu3.bin": each for name, each in data.items()}


_ONE_BUFFER: Final = [("b", "internal", 4096)]


def _recipe(elf: str, buffers: list[tuple[str, str, int]] = _ONE_BUFFER, *, runs: int = 1) -> bytes:
    """XRT's recipe for so many runs of an ELF's kernel on buffers of a name, a type and a size."""
    run = {"name": "k", "arguments": [{"name": name, "argidx": index} for index, (name, _, _) in enumerate(buffers)]}
    return _json(
        {
            "version": "1.0",
            "header": {"programs": [elf]},
            "resources": {
                "buffers": [{"name": name, "type": kind, "size": size} for name, kind, size in buffers],
                "kernels": [{"name": "k", "instance": "DPU:inst0"}],
            },
            "execution": {"runs": [run] * runs},
        }
    )


def _profile(iterations: int, bindings: list[dict[str, Any]] | None = None) -> bytes:
    """How often XRT runs a recipe; with bindings, each time's outputs are looked at."""
    execution: dict[str, Any] = {"iterations": iterations}
    if bindings is None:
        return _json({"version": "1.0", "execution": execution})
    execution["iteration"] = {"wait": True, "validate": True}
    return _json({"version": "1.0", "bindings": bindings, "execution": execution})


def trace_events() -> bytes:
    """``trace_events.json``: names and arguments of firmware's events, as XRT's EventTraceNpu3.cpp reads them."""
    categories = [{"id": int(category), "name": category.name, "description": ""} for category in Category]
    events: dict[str, Any] = {}
    sets: dict[str, Any] = {}
    for event in EventId:
        category, arguments = EVENT_ARGUMENTS[event]
        sets[event.name] = [{"name": name, "type": kind, "format": form} for name, kind, form in arguments]
        events[str(int(event))] = {"name": event.name, "categories": [category.name], "args_name": event.name}
    return _json(
        {
            "version": {"major": firmware_ring.VERSION_MAJOR, "minor": 0},
            "categories": categories,
            "structures": {
                "ring_buffer_entry_header": {"size": firmware_ring.EVENT_HEADER.size},
                "ring_buffer_entry_footer": {"size": firmware_ring.EVENT_FOOTER.size},
            },
            "arg_sets": sets,
            "events": events,
        }
    )


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1).encode()


def is_ours(data: bytes) -> bool:
    """Whether an archive was made here, by any version."""
    return README in data[:1024]


def build() -> bytes:
    """The archive."""
    return archive.write(members())


def members() -> dict[str, bytes]:
    """What is in the archive, by name."""
    return {
        "README": README,
        "nop.elf": empty(),
        "gemm.elf": gemm(),
        "recipe_latency.json": _recipe("nop.elf"),
        "profile_latency.json": _profile(_LATENCY_ITERATIONS),
        "recipe_throughput.json": _recipe("nop.elf", runs=5),
        "profile_throughput.json": _profile(_LATENCY_ITERATIONS),
        "recipe_cmd_chain_latency.json": _recipe("nop.elf", runs=_LIST),
        "profile_cmd_chain_latency.json": _profile(_LIST_ITERATIONS),
        "recipe_cmd_chain_throughput.json": _recipe("nop.elf", runs=_LIST),
        "profile_cmd_chain_throughput.json": _profile(_LIST_ITERATIONS),
        "tct_1col.elf": tokens(1),
        "recipe_tct_one_column.json": _recipe("tct_1col.elf"),
        "profile_tct_one_column.json": _profile(_LATENCY_ITERATIONS),
        "tct_4col.elf": tokens(array.COLUMNS),
        "recipe_tct_all_column.json": _recipe("tct_4col.elf"),
        "profile_tct_all_column.json": _profile(_LATENCY_ITERATIONS),
        "trace_events.json": trace_events(),
        **_sanity(),
    }
