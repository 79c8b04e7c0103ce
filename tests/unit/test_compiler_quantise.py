"""Quantisation of float32 models: what becomes 8-bit, with which scales, and how close the result is."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper
from oracle.run_front import execute, signal_to_noise

from fauxdna.compiler import QuantisationError, front, quantise
from fauxdna.compiler.quantise_scales import SLACK, commensurable

SHAPE = (1, 3, 16, 16)


def network(opset: int = 11) -> ModelProto:
    """A residual block with batch normalisation, HardSwish written out, a squeeze-and-excitation gate, a bias of its own."""
    rng = np.random.default_rng(3)
    constants: list[TensorProto] = []

    def constant(name: str, *shape: int, low: float = -0.5, high: float = 0.5) -> str:
        constants.append(numpy_helper.from_array(rng.uniform(low, high, shape).astype(np.float32), name))
        return name

    def scalar(name: str, value: float) -> str:
        constants.append(numpy_helper.from_array(np.float32(value), name))
        return name

    bn = [
        constant("gamma", 8, low=0.5, high=1.5),
        constant("beta", 8),
        constant("mean", 8),
        constant("variance", 8, low=0.5, high=1),
    ]
    node = helper.make_node
    nodes = [
        node("Conv", ["x", constant("w1", 8, 3, 3, 3)], ["c1"], name="conv1", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c1", *bn], ["n1"], name="norm"),
        node("Add", ["n1", scalar("three", 3)], ["h1"], name="h1"),
        node("Clip", ["h1", scalar("zero", 0), scalar("six", 6)], ["h2"], name="h2"),
        node("Mul", ["n1", "h2"], ["h3"], name="h3"),
        node("Div", ["h3", "six"], ["h4"], name="h4"),
        node("GlobalAveragePool", ["h4"], ["g1"], name="pool"),
        node("Conv", ["g1", constant("w2", 8, 8, 1, 1)], ["g2"], name="gate", kernel_shape=[1, 1]),
        node("HardSigmoid", ["g2"], ["g3"], name="sigmoid"),
        node("Mul", ["h4", "g3"], ["m"], name="excite"),
        node("Conv", ["m", constant("w3", 8, 8, 1, 1)], ["c3"], name="conv3", kernel_shape=[1, 1]),
        node("Add", ["c3", constant("b3", 1, 8, 1, 1)], ["c4"], name="bias3"),
        node("Add", ["h4", "c4"], ["r"], name="residual"),
        node("Relu", ["r"], ["y"], name="relu"),
        node("Conv", ["y", constant("w4", 4, 8, 1, 1)], ["z"], name="conv4", kernel_shape=[1, 1]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])
    y = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 4, "h", "w"])
    return helper.make_model(
        helper.make_graph(nodes, "net", [x], [y], constants), opset_imports=[helper.make_opsetid("", opset)], ir_version=8
    )


def samples(count: int = 4) -> list[dict[str, Any]]:
    rng = np.random.default_rng(7)
    return [{"x": rng.standard_normal(SHAPE).astype(np.float32)} for _ in range(count)]


def run(model: ModelProto, feeds: dict[str, Any]) -> Any:
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)[0]


@pytest.mark.parametrize("signed", [False, True])
def test_the_quantised_network_is_close_and_all_on_the_array(signed: bool) -> None:
    model = quantise(network(), samples(), signed=signed)
    feeds = samples()[0]
    assert signal_to_noise(run(network(), feeds), run(model, feeds)) > 30
    made = front(model, strict=True)
    assert signal_to_noise(run(model, feeds), execute(made, feeds)[0]) > 100


def test_functions_stay_float_between_two_8_bit_tensors() -> None:
    model = quantise(network(), samples())
    kinds = {node.name: node for node in model.graph.node}
    writer = {name: node for node in model.graph.node for name in node.output}
    assert "norm" not in kinds, "folded into conv1"
    assert "bias3" not in kinds, "folded into conv3"
    assert writer[kinds["h1"].input[0]].op_type == "DequantizeLinear"
    assert writer[kinds["h4"].input[0]].name == "h3"
    assert writer[kinds["relu"].input[0]].name == "residual", "the clamp belongs to the sum"


def test_the_same_inputs_give_the_same_bytes() -> None:
    first, second = (quantise(network(), samples()).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_the_report_speaks_of_the_users_nodes() -> None:
    made = front(network(), calibration=samples(), strict=True)
    places = {node.name: node for node in made.nodes}
    assert places["norm"].place == "array"
    assert "conv1" in places["norm"].why
    height, width = SHAPE[2:]
    assert places["conv1"].macs == height * width * 8 * 3 * 9
    assert sum(node.macs for node in made.nodes) == height * width * (8 * 27 + 8 * 8 + 8 * 4) + 8 * 8


def test_sums_have_commensurable_scales_and_even_zero_points() -> None:
    model = quantise(network(), samples())
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    quantisers = {node.input[0]: node for node in model.graph.node if node.op_type == "QuantizeLinear"}
    out = quantisers["y"]
    scale = float(constants[out.input[1]])
    assert int(constants[out.input[2]]) % 2 == 0
    for name in ("h4", "c4"):
        ratio = float(constants[quantisers[name].input[1]]) / scale * 64
        assert ratio == int(ratio), name


@given(st.floats(1e-6, 1e3), st.sampled_from([1, 3, 5, 7, 9, 35]))
def test_commensurable_scales_cover_the_range_and_waste_little(needed: float, factor: int) -> None:
    scale, odd = commensurable(needed, factor)
    assert scale >= needed * SLACK * (1 - 1e-12)
    assert scale <= needed * (1.26 if factor < 8 else 2)
    assert odd % factor == 0
    exponent = np.log2(scale / odd)
    assert exponent == int(exponent)


def test_mistakes_are_named() -> None:
    with pytest.raises(QuantisationError, match="none were given"):
        quantise(network(), [])
    with pytest.raises(QuantisationError, match="calibration input 1 lacks 'x'"):
        quantise(network(), [samples()[0], {}])
    with pytest.raises(QuantisationError, match=r"has shape \(1, 3, 8, 8\)"):
        quantise(network(), [samples()[0], {"x": np.zeros((1, 3, 8, 8), np.float32)}])
    with pytest.raises(QuantisationError, match="not finite numbers"):
        quantise(network(), [{"x": np.full(SHAPE, np.inf, np.float32)}])
    with pytest.raises(QuantisationError, match="quantised already"):
        quantise(quantise(network(), samples()), samples())


def test_excluded_nodes_stay_float() -> None:
    model = quantise(network(), samples(), exclude=["conv3"])
    onnx.checker.check_model(model)
    kinds = {node.name: node for node in model.graph.node}
    writer = {name: node for node in model.graph.node for name in node.output}
    assert kinds["conv3"].input[1] not in writer
