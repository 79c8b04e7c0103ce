"""Lowered layers against ONNX: every operator over shapes, strides, pads, groups and zero points."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator
from oracle.qdq import Builder
from oracle.run_front import execute

from fauxdna.abi.tile_program import ElementType
from fauxdna.compiler import front, ir

EXAMPLES = settings(max_examples=20, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])


def check(model: ModelProto, feeds: dict[str, Any], step: float) -> None:
    """One segment, nothing on the CPU; 99.9 % equal to onnx.reference and ONNX Runtime, and never more than a step off."""
    made = front(model, strict=True)
    assert len(made.cut.steps) == 1
    found = execute(made, feeds)
    for oracle in (ReferenceEvaluator(model), onnxruntime.InferenceSession(model.SerializeToString())):
        for expected, value in zip(oracle.run(None, feeds), found, strict=True):
            assert expected.shape == value.shape
            difference = np.abs(expected - value)
            assert difference.max(initial=0) <= step * 1.01
            assert (difference > step / 2).sum() <= max(1, difference.size // 1000)


def values(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return rng.standard_normal(shape).astype(np.float32)


SPREAD = [(1, 6, 5, 4), (1, 6, 1, 1), (6, 1, 1), (1, 1, 1, 1), (1,)]
PIXEL_OPERATORS = ["MaxPool", "GlobalMaxPool", "AveragePool", "GlobalAveragePool", "Resize"]
quantisations = st.tuples(st.floats(0.01, 0.05), st.integers(0, 255))


@EXAMPLES
@given(
    st.integers(0, 2**31),
    st.integers(4, 9),
    st.integers(4, 9),
    st.sampled_from([(3, 8, 1), (8, 8, 8), (8, 12, 4), (5, 7, 1)]),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.integers(1, 2),
    st.tuples(*[st.integers(0, 1)] * 4),
    quantisations,
    quantisations,
    st.sampled_from(["none", "Relu", "Sigmoid", "HardSwish"]),
    st.booleans(),
)
def test_conv(
    seed: int,
    height: int,
    width: int,
    channels: tuple[int, int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilation: int,
    pads: tuple[int, int, int, int],
    into: tuple[float, int],
    out: tuple[float, int],
    activation: str,
    signed: bool,
) -> None:
    if any(
        size + p + q < (k - 1) * dilation + 1 for size, p, q, k in zip((height, width), pads[:2], pads[2:], kernel, strict=True)
    ):
        return
    rng = np.random.default_rng(seed)
    channels_in, channels_out, groups = channels
    build = Builder(signed=signed)
    shift = 128 if signed else 0
    x = build.pair(build.input("x", (1, channels_in, height, width)), (into[0], into[1] - shift))
    scales = rng.uniform(0.005, 0.02, channels_out).astype(np.float32)
    steps = rng.integers(-127, 128, (channels_out, channels_in // groups, *kernel)).astype(np.int8)
    w = build.weights("w", steps, scales, 0)
    b = build.weights("b", rng.integers(-2000, 2000, channels_out).astype(np.int32), np.float32(into[0]) * scales, 0)
    y = build.node(
        "Conv", [x, w, b], "y", kernel_shape=kernel, strides=strides, dilations=[dilation] * 2, pads=pads, group=groups
    )
    if activation == "Relu":
        y = build.node("Relu", [y], "a")
    elif activation != "none":
        y = build.node(activation, [build.pair(y, (0.05, 100 - shift))], "a")
    build.node("Identity", [build.pair(y, (out[0], out[1] - shift))], "out")
    build.output("out")
    check(build.model(), {"x": values(rng, (1, channels_in, height, width))}, out[0])


@EXAMPLES
@given(
    st.integers(0, 2**31),
    st.integers(2, 5),
    st.sampled_from([(4, 6), (3, 1)]),
    st.integers(1, 3),
    st.integers(0, 1),
    quantisations,
)
def test_conv_transpose(seed: int, size: int, channels: tuple[int, int], stride: int, pad: int, out: tuple[float, int]) -> None:
    rng = np.random.default_rng(seed)
    build = Builder()
    x = build.pair(build.input("x", (1, channels[0], size, size + 1)), (0.02, 117))
    w = build.weights(
        "w",
        rng.integers(-127, 128, (*channels, 3, 2)).astype(np.int8),
        rng.uniform(0.005, 0.02, channels[1]).astype(np.float32),
        1,
    )
    y = build.node("ConvTranspose", [x, w], "y", strides=[stride, stride], pads=[pad, 0, pad, 0])
    build.node("Identity", [build.pair(y, out)], "out")
    build.output("out")
    check(build.model(), {"x": values(rng, (1, channels[0], size, size + 1))}, out[0])


@EXAMPLES
@given(
    st.integers(0, 2**31),
    st.sampled_from(["Add", "Mul", "Sub"]),
    st.sampled_from(SPREAD),
    quantisations,
    quantisations,
    quantisations,
)
def test_two_operands(
    seed: int, op: str, other: tuple[int, ...], first: tuple[float, int], second: tuple[float, int], out: tuple[float, int]
) -> None:
    rng = np.random.default_rng(seed)
    build = Builder()
    out = (out[0], out[1] & ~1)  # ONNX Runtime adds the zero point before it rounds: with an odd one, ties go the other way
    shape = (1, 6, 5, 4)
    a, b = build.pair(build.input("a", shape), first), build.pair(build.input("b", other), second)
    build.node("Identity", [build.pair(build.node(op, [a, b], "y"), out)], "out")
    build.output("out")
    check(build.model(), {"a": values(rng, shape), "b": values(rng, other)}, out[0])


@EXAMPLES
@given(
    st.integers(0, 2**31),
    st.sampled_from(["MaxPool", "AveragePool", "GlobalAveragePool", "Resize"]),
    st.booleans(),
    quantisations,
)
def test_pixels(seed: int, op: str, signed: bool, out: tuple[float, int]) -> None:
    rng = np.random.default_rng(seed)
    build = Builder(signed=signed)
    shift = 128 if signed else 0
    shape = (1, 5, 17, 9)
    out = (out[0], out[1] - shift)
    kept = out if op in ("MaxPool", "GlobalMaxPool", "Resize") else (0.0317, 120 - shift)
    x = build.pair(build.input("x", shape), kept)
    inputs, attributes = [x], {}
    if op == "MaxPool":
        attributes = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}
    elif op == "AveragePool":
        attributes = {"kernel_shape": [2, 4], "strides": [2, 2]}
    elif op == "Resize":
        inputs = [x, "", build.constant("scales", np.array([1, 1, 2, 3], np.float32))]
        attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    y = build.node(op, inputs, "y", **attributes)
    build.node("Identity", [build.pair(y, out)], "out")
    build.output("out")
    check(build.model(), {"x": values(rng, shape)}, out[0])


@EXAMPLES
@given(st.integers(0, 2**31), st.integers(1, 7), st.integers(1, 9), st.integers(1, 9), st.booleans(), quantisations)
def test_matrix_product(seed: int, rows: int, inner: int, columns: int, gemm: bool, out: tuple[float, int]) -> None:
    rng = np.random.default_rng(seed)
    build = Builder()
    x = build.pair(build.input("x", (rows, inner)), (0.02, 128))
    scales = rng.uniform(0.005, 0.02, columns).astype(np.float32)
    w = build.weights("w", rng.integers(-127, 128, (inner, columns)).astype(np.int8), scales, 1)
    b = build.weights("b", rng.integers(-500, 500, columns).astype(np.int32), np.float32(0.02) * scales, 0)
    y = build.node("Gemm", [x, w, b], "y") if gemm else build.node("Add", [build.node("MatMul", [x, w], "m"), b], "y")
    build.node("Identity", [build.pair(y, out)], "out")
    build.output("out")
    check(build.model(), {"x": values(rng, (rows, inner))}, out[0])


@EXAMPLES
@given(st.integers(0, 2**31), st.lists(quantisations, min_size=2, max_size=3), quantisations)
def test_concat(seed: int, parts: list[tuple[float, int]], out: tuple[float, int]) -> None:
    rng = np.random.default_rng(seed)
    build = Builder()
    names, feeds = [], {}
    for index, parameters in enumerate(parts):
        shape = (1, 4 * (index + 1), 3, 5)
        feeds[f"x{index}"] = values(rng, shape)
        x = build.pair(build.input(f"x{index}", shape), (0.02, 120))
        w = build.weights(f"w{index}", rng.integers(-127, 128, (shape[1], shape[1], 1, 1)).astype(np.int8), np.float32(0.01), 0)
        names.append(build.pair(build.node("Conv", [x, w], f"c{index}"), parameters))
    build.node("Identity", [build.pair(build.node("Concat", names, "y", axis=1), out)], "out")
    build.output("out")
    model = build.model()
    check(model, feeds, out[0])
    segment = front(model).cut.steps[0]
    assert isinstance(segment, ir.Segment)
    assert sum(isinstance(layer, ir.Table) for layer in segment.layers) == 0, "parts are written in place by the convolutions"


@EXAMPLES
@given(st.integers(0, 2**31), st.integers(1, 3), st.sampled_from([1, 2]))
def test_signals_of_a_batch(seed: int, batch: int, stride: int) -> None:
    """One-dimensional convolutions: the signal lies along the height, the batch along the width."""
    rng = np.random.default_rng(seed)
    build = Builder()
    x = build.pair(build.input("x", (batch, 5, 7)), (0.02, 128))
    w = build.weights("w", rng.integers(-127, 128, (8, 5, 3)).astype(np.int8), np.full(8, 0.01, np.float32), 0)
    y = build.node("Relu", [build.node("Conv", [x, w], "c", kernel_shape=[3], pads=[1, 1], strides=[stride])], "y")
    build.node("Transpose", [build.pair(y, (0.02, 0))], "out", perm=[0, 2, 1])
    build.output("out")
    model = build.model()
    feeds = {"x": values(rng, (batch, 5, 7))}
    made = front(model)
    (expected,) = ReferenceEvaluator(model).run(None, feeds)
    (found,) = execute(made, feeds)
    assert np.abs(expected - found).max() <= 0.0201
    assert all(node.place == "array" for node in made.nodes if node.op == "Conv")


def test_softmax_of_a_matrix_product_is_on_the_array() -> None:
    rng = np.random.default_rng(1)
    build = Builder()
    x = build.pair(build.input("x", (2, 8)), (0.02, 128))
    w = build.weights("w", rng.integers(-127, 128, (8, 3)).astype(np.int8), np.full(3, 0.01, np.float32), 1)
    build.node("Softmax", [build.node("MatMul", [x, w], "m")], "out", axis=-1)
    build.output("out")
    model = build.model()
    feeds = {"x": values(rng, (2, 8))}
    made = front(model, strict=True)
    np.testing.assert_allclose(execute(made, feeds)[0], ReferenceEvaluator(model).run(None, feeds)[0], rtol=1e-5)


def test_an_8_bit_output_leaves_as_it_is() -> None:
    rng = np.random.default_rng(2)
    build = Builder()
    x = build.pair(build.input("x", (1, 3, 5, 4)), (0.02, 128))
    w = build.weights("w", rng.integers(-127, 128, (6, 3, 1, 1)).astype(np.int8), np.full(6, 0.01, np.float32), 0)
    build.pair(build.node("Conv", [x, w], "c"), (0.02, 100))
    build.outputs.append(helper.make_tensor_value_info("c_q", TensorProto.UINT8, [1, 6, 5, 4]))
    model = build.model()
    feeds = {"x": values(rng, (1, 3, 5, 4))}
    (found,) = execute(front(model), feeds)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, ReferenceEvaluator(model).run(None, feeds)[0])


def test_tensors_cross_between_segments_unchanged() -> None:
    """An 8-bit tensor is used before and after an operator that runs on the CPU: two segments, joined by a residual."""
    rng = np.random.default_rng(4)
    build = Builder()
    shape = (1, 6, 5, 4)
    x = build.pair(build.input("x", shape), (0.02, 128))
    w = build.weights("w", rng.integers(-127, 128, (6, 6, 1, 1)).astype(np.int8), np.full(6, 0.01, np.float32), 0)
    kept = build.pair(build.node("Conv", [x, w], "c"), (0.02, 100))
    far = build.pair(build.node("LpNormalization", [kept], "n", axis=1), (0.01, 128))
    joined = build.pair(build.node("Add", [far, kept], "a"), (0.03, 120))
    build.node("Identity", [build.pair(build.node("Concat", [joined, kept], "j", axis=3), (0.04, 110))], "out")
    build.output("out")
    model = build.model()
    made = front(model)
    assert sum(isinstance(step, ir.Segment) for step in made.cut.steps) == 2
    feeds = {"x": values(rng, shape)}
    expected, found = ReferenceEvaluator(model).run(None, feeds)[0], execute(made, feeds)[0]
    assert np.abs(expected - found).max() <= 0.0401
    assert (expected != found).mean() < 0.01


@EXAMPLES
@given(st.integers(0, 2**31), st.sampled_from(["MaxPool", "Reshape", "Transpose"]), quantisations)
def test_moving_and_choosing_before_quantising(seed: int, op: str, out: tuple[float, int]) -> None:
    """A function, then an operator that keeps elements, then QuantizeLinear: one table, and no float32 tensor on the array."""
    rng = np.random.default_rng(seed)
    build = Builder()
    shape = (1, 4, 6, 8)
    x = build.pair(build.input("x", shape), (0.02, 120))
    w = build.weights("w", rng.integers(-127, 128, (4, 4, 1, 1)).astype(np.int8), np.float32(0.0113), 0)
    f = build.node("HardSwish", [build.pair(build.node("Conv", [x, w], "c"), (0.0317, 110))], "f")
    if op == "MaxPool":
        y = build.node(op, [f], "y", kernel_shape=[2, 2], strides=[2, 2])
    elif op == "Reshape":
        y = build.node(op, [f, build.constant("shape", np.array([1, 4, 48], np.int64))], "y")
    else:
        y = build.node(op, [f], "y", perm=[0, 2, 3, 1])
    build.node("Identity", [build.pair(y, out)], "out")
    build.output("out")
    model = build.model()
    check(model, {"x": values(rng, shape)}, out[0])
    segment = front(model).cut.steps[0]
    assert isinstance(segment, ir.Segment)
    assert all(layer.output.type is not ElementType.F32 for layer in segment.layers[:-1])
