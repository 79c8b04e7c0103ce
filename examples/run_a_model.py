"""Compile a small ONNX model, run it on a virtual NPU, and see what it cost: ``python examples/run_a_model.py``."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import fauxdna

SHAPE = (1, 3, 32, 32)


def model(rng: np.random.Generator) -> onnx.ModelProto:
    """Two convolutions with a ReLU between them, in float32."""
    first = numpy_helper.from_array(rng.normal(0, 0.2, (16, 3, 3, 3)).astype(np.float32), "first")
    second = numpy_helper.from_array(rng.normal(0, 0.2, (8, 16, 1, 1)).astype(np.float32), "second")
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 8, 32, 32))]
    graph = helper.make_graph(nodes, "example", inputs, outputs, [first, second])
    made: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return made


def main() -> None:
    """Quantise with four random pictures, compile, run eight at once."""
    rng = np.random.default_rng(0)
    pictures = [rng.normal(size=SHAPE).astype(np.float32) for _ in range(8)]
    program = fauxdna.compile(model(rng), calibration=[{"x": picture} for picture in pictures[:4]])
    with fauxdna.open() as npu, npu.context(program, trace_layers=True) as context:
        futures = [context.submit({"x": picture}) for picture in pictures]
        for future in futures:
            outputs = future.result()
            print(f"mean {outputs['y'].mean():+.4f}, {outputs.report.simulated_ns} ns, {outputs.report.energy_uj:.2f} uJ")
        for layer in context.report.steps[0].layers:
            print(f"{layer.name:12} {layer.simulated_ns:6} ns {layer.macs:8} MACs")


if __name__ == "__main__":
    main()
