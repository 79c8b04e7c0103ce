"""A small program for runtime tests: an int8 matrix product on the array, and what it should give."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from fauxdna.abi.control_code import PAGE_MAGIC, Opcode
from fauxdna.abi.tile_program import ElementType
from fauxdna.artifact.program import ArrayStep, CpuStep, NodePlacement, Program, TensorInfo
from fauxdna.compiler import codegen, ir
from fauxdna.compiler.ir import Layout, OutputStage, Tensor
from fauxdna.runtime import Buffer, Npu

ROWS, INNER, OUT = 48, 40, 24
RNG = np.random.default_rng(7)
WEIGHTS = RNG.integers(-128, 128, (OUT, INNER)).astype(np.int8)
SCALE, ZERO, IN_ZERO = np.float32(1 / 512), 11, 3
MACS = ROWS * INNER * OUT
Array = npt.NDArray[np.float32]


def expected(x: Array) -> Array:
    """clip(rint(W (x - 3) / 512) + 11, 0, 255) of the uint8 ``x`` (INNER, ROWS, 1), in numpy float64, where all is exact."""
    product = WEIGHTS.astype(np.float64) @ (np.clip(np.rint(x[:, :, 0].astype(np.float64)), 0, 255) - IN_ZERO)
    return np.clip(np.rint(product * float(SCALE)) + ZERO, 0, 255).astype(np.float32)[:, :, None]


def sample(seed: int) -> Array:
    """An input: whole numbers of 0 to 255."""
    return np.random.default_rng(seed).integers(0, 256, (INNER, ROWS, 1)).astype(np.float32)


def array_step(columns: int = 3, name: str = "product") -> ArrayStep:
    """x (INNER, ROWS, 1) to y (OUT, ROWS, 1), both float32 of whole numbers."""
    outside = Tensor("x", ROWS, 1, INNER, ElementType.F32, Layout.PLANES)
    inside = Tensor("x.u8", ROWS, 1, INNER, ElementType.U8)
    made = Tensor("y.u8", ROWS, 1, OUT, ElementType.U8)
    result = Tensor("y", ROWS, 1, OUT, ElementType.F32, Layout.PLANES)
    layers = (
        ir.Convert("quantise", (outside,), inside, clamp_low=0, clamp_high=255),
        ir.Conv(
            "product",
            (inside,),
            made,
            weights=WEIGHTS.reshape(OUT, INNER, 1, 1),
            bias=None,
            stage=OutputStage(np.array([SCALE], np.float32), ZERO, 0, 255, None),
            in_zero=IN_ZERO,
            weight_zero=0,
        ),
        ir.Convert("restore", (made,), result),
    )
    generated = codegen.generate(ir.Segment("net", (outside,), (result,), layers), columns=columns)
    return ArrayStep(name, generated.elf, ("x",), ("y",), generated.workspace, generated.columns, generated.layers)


def info(name: str, shape: tuple[int, ...]) -> TensorInfo:
    """A float32 tensor."""
    return TensorInfo(name, shape, "float32", 4 * int(np.prod(shape)))


def program(columns: int = 3) -> Program:
    """One array step."""
    tensors = {"x": info("x", (INNER, ROWS, 1)), "y": info("y", (OUT, ROWS, 1))}
    nodes = (NodePlacement("product", "MatMul", "array", "fits", MACS),)
    return Program("product", ("x",), ("y",), tensors, (array_step(columns),), nodes)


def mixed_program() -> Program:
    """z = -y on the CPU after the array step."""
    shape = (OUT, ROWS, 1)
    graph = helper.make_graph(
        [helper.make_node("Neg", ["y"], ["z"])],
        "neg",
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, shape)],
    )
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    array = program()
    steps = (*array.steps, CpuStep("neg", model.SerializeToString(), ("y",), ("z",)))
    return Program("mixed", ("x",), ("y", "z"), {**array.tensors, "z": info("z", shape)}, steps)


def page(*operations: bytes) -> bytes:
    """A page of one job: header (magic, page 0, two unused lengths, length, no next page), operations, END_JOB, EOF."""
    body = b"".join(operations) + struct.pack("<2I", Opcode.END_JOB, Opcode.EOF)
    job = struct.pack("<BBHHH", Opcode.START_JOB, 0, 0, 8 + len(body) - 4, 0)
    length = 16 + len(job) + len(body)
    return struct.pack("<6HI", PAGE_MAGIC, 0, 0, 0, length, 0, 0) + job + body


def sleep(microseconds: int) -> bytes:
    """An operation that takes so much simulated time."""
    return struct.pack("<2I", Opcode.SLEEP, microseconds)


def load(npu: Npu, code: bytes) -> Buffer:
    """Control code in a buffer of its own."""
    buffer = Buffer(npu.file, 8192)
    buffer.bytes[: len(code)] = np.frombuffer(code, np.uint8)
    return buffer
