"""Layers that the back end has no form for run on the CPU, alone."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from fauxdna.artifact.program import ArrayStep, CpuStep
from fauxdna.compiler import PlacementError, compile


def test_a_convolution_that_no_core_can_hold() -> None:
    rng = np.random.default_rng(0)
    shapes = {"first": (16, 3, 1, 1), "huge": (16, 16, 60, 60), "last": (16, 16, 1, 1)}
    names = ["x", "a", "b", "y"]
    nodes = [helper.make_node("Conv", [names[i], f"{name}.w"], [names[i + 1]], name=name) for i, name in enumerate(shapes)]
    weights = [
        numpy_helper.from_array(rng.normal(0, 0.1, shape).astype(np.float32), f"{name}.w") for name, shape in shapes.items()
    ]
    value = helper.make_tensor_value_info
    inputs, outputs = [value("x", TensorProto.FLOAT, [1, 3, 64, 64])], [value("y", TensorProto.FLOAT, [1, 16, 5, 5])]
    graph = helper.make_graph(nodes, "net", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    calibration = [{"x": rng.normal(0, 1, (1, 3, 64, 64)).astype(np.float32)}]
    program = compile(model, calibration=calibration)
    assert [type(step) for step in program.steps] == [ArrayStep, CpuStep, ArrayStep]
    placed = {node.name: (node.place, node.why) for node in program.nodes}
    assert (placed["first"][0], placed["last"][0]) == ("array", "array")
    assert placed["huge"][0] == "cpu"
    assert "60 x 60" in placed["huge"][1]
    with pytest.raises(PlacementError, match="huge"):
        compile(model, calibration=calibration, strict=True)
