"""QOperator models, as ONNX Runtime's own quantiser writes them, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from oracle.run_front import execute

from fauxdna.compiler import front


class Samples(CalibrationDataReader):
    def __init__(self, samples: list[dict[str, Any]]) -> None:
        self.remaining = iter(samples)

    def get_next(self) -> dict[str, Any] | None:
        return next(self.remaining, None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_small_network(tmp_path: Path, per_channel: bool) -> None:
    rng = np.random.default_rng(5)

    def constant(name: str, *shape: int) -> TensorProto:
        return numpy_helper.from_array((rng.standard_normal(shape) / 4).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="c1", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="r1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="c2", kernel_shape=[1, 1]),
        helper.make_node("Add", ["r1", "c2"], ["a"], name="a"),
        helper.make_node("MaxPool", ["a"], ["p"], name="p", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["p"], ["g"], name="g"),
        helper.make_node("Flatten", ["g"], ["f"], name="f"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], name="y", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])],
        [constant("w1", 8, 3, 3, 3), constant("b1", 8), constant("w2", 8, 8, 1, 1), constant("w3", 5, 8), constant("b3", 5)],
    )
    source, target = tmp_path / "float.onnx", tmp_path / "qoperator.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), source)
    samples = [{"x": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(4)]
    quantize_static(source, target, Samples(samples), quant_format=QuantFormat.QOperator, per_channel=per_channel)
    model = onnx.load(target)
    assert {"QLinearConv", "QLinearAdd"} <= {node.op_type for node in model.graph.node}
    made = front(model, strict=True)
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, samples[0])
    (found,) = execute(made, samples[0])
    step = np.diff(np.unique(expected)).min(initial=0.05)
    assert np.abs(expected - found).max() <= max(step, np.abs(expected).max() / 100)
    assert {node.name for node in made.nodes if node.op == "QLinearConv"} == {"c1_quant", "c2_quant"}
