"""A model of one convolution that is one ELF with one input and one output, for places where only C and a node are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..cache import cache_folder, made_once
from .prepare import compiler_digest

if TYPE_CHECKING:
    import onnx

SHAPE = (1, 8, 16, 16)
CHANNELS = 16


@dataclass(frozen=True)
class SmallModel:
    """The ELF, an input, and the output that a die in this process made of it."""

    elf: bytes
    input: bytes
    output: bytes
    workspace: int
    """Bytes of the kernel's third argument."""

    def files(self) -> dict[str, bytes]:
        """What a guest's probe reads, by file name."""
        return {"model.elf": self.elf, "input": self.input, "output": self.output, "workspace": b"%d\n" % self.workspace}


def small_model() -> SmallModel:
    """The model, compiled and run once for each version of the compiler."""
    digest = hashlib.sha256(compiler_digest().encode() + Path(__file__).read_bytes()).hexdigest()
    folder = made_once(cache_folder() / "programs" / f"small-{digest[:16]}", _make)
    elf, given, output = ((folder / name).read_bytes() for name in ("model.elf", "input", "output"))
    return SmallModel(elf, given, output, int((folder / "workspace").read_text()))


def graph(shape: tuple[int, int, int, int] = SHAPE, channels: int = CHANNELS) -> onnx.ModelProto:
    """An 8-bit 3x3 convolution with ReLU in QDQ form; every number is written down here, so that it never changes.

    Args:
        shape: Of the input: [1][channels][height][width].
        channels: Of the output.
    """
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    kernel = (np.arange(channels * shape[1] * 9) * 37 % 251 - 125).astype(np.int8).reshape(channels, shape[1], 3, 3)
    constants = {
        "scale": np.float32(0.0625),
        "zero": np.uint8(128),
        "kernel": kernel,
        "kernel_scale": np.float32(0.00390625),
        "kernel_zero": np.int8(0),
        "out_scale": np.float32(0.125),
        "out_zero": np.uint8(0),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["bytes"]),
        helper.make_node("DequantizeLinear", ["bytes", "scale", "zero"], ["real"]),
        helper.make_node("DequantizeLinear", ["kernel", "kernel_scale", "kernel_zero"], ["weights"]),
        helper.make_node("Conv", ["real", "weights"], ["sum"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["sum"], ["positive"]),
        helper.make_node("QuantizeLinear", ["positive", "out_scale", "out_zero"], ["levels"]),
        helper.make_node("DequantizeLinear", ["levels", "out_scale", "out_zero"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    inputs = [value("x", TensorProto.FLOAT, shape)]
    outputs = [value("y", TensorProto.FLOAT, (1, channels, *shape[2:]))]
    initializers = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    made: onnx.ModelProto = helper.make_model(
        helper.make_graph(nodes, "small", inputs, outputs, initializers),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    return made


def _make(folder: Path) -> None:
    import numpy as np

    from .. import open as open_npu
    from ..artifact.program import ArrayStep
    from ..compiler import compile as compile_model

    program = compile_model(graph(), columns=1, strict=True)
    (step,) = program.steps
    assert isinstance(step, ArrayStep)
    picture = ((np.arange(np.prod(SHAPE)) * 73 % 256 - 128) * 0.0625).astype(np.float32).reshape(SHAPE)
    with open_npu() as npu, npu.context(program) as context:
        (output,) = context.run({"x": picture}).values()
    for name, content in SmallModel(step.elf, picture.tobytes(), output.tobytes(), step.workspace).files().items():
        (folder / name).write_bytes(content)
