"""Models nobody vouches for: each is refused with a sentence that names the object and the remedy."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper
from oracle.qdq import Builder

from fauxdna.compiler import CompileError, ModelError, PlacementError, QuantisationError, front
from fauxdna.compiler.onnx_import import import_graph


def model(nodes: list[object], shape: list[object] | None = None, constants: list[TensorProto] | None = None) -> ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape or [1, 4, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "test", [x], [y], constants or [])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        front(tmp_path / "none.onnx")


@pytest.mark.parametrize("data", [b"", b"\xff\xff\xff\xff", b"hello, world"])
def test_not_a_model(data: bytes) -> None:
    with pytest.raises(ModelError, match="not an ONNX model"):
        front(data)


def test_a_cycle() -> None:
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    with pytest.raises(ModelError):
        front(model(nodes))


def test_a_missing_initialiser() -> None:
    with pytest.raises(ModelError, match="weights"):
        front(model([helper.make_node("Conv", ["x", "weights"], ["y"])]))


def test_external_data_is_never_opened() -> None:
    tensor = numpy_helper.from_array(np.zeros((4, 4, 1, 1), np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(ModelError, match=r"'w' lies in another file.*save_as_external_data=False"):
        front(model([helper.make_node("Conv", ["x", "w"], ["y"])], constants=[tensor]))


@pytest.mark.parametrize("shape", [[1, 1 << 20, 1 << 20, 4], [1 << 62, 1 << 62, 1, 1]])
def test_huge_shapes(shape: list[object]) -> None:
    with pytest.raises(ModelError, match="at most"):
        front(model([helper.make_node("Relu", ["x"], ["y"])], shape))


def test_a_constant_too_large_to_fold() -> None:
    size = numpy_helper.from_array(np.array([1 << 14, 1 << 14], np.int64), "size")
    nodes = [helper.make_node("ConstantOfShape", ["size"], ["c"]), helper.make_node("Add", ["x", "c"], ["y"])]
    with pytest.raises(CompileError):
        front(model(nodes, [1, 1], [size]))


def test_an_open_dimension() -> None:
    with pytest.raises(ModelError, match=r"dimension 2 is open \(h\).*--shape x=1"):
        import_graph(model([helper.make_node("Relu", ["x"], ["y"])], ["n", 3, "h", "w"]))


def test_a_shape_that_contradicts_the_model() -> None:
    with pytest.raises(ModelError, match="dimension 1 is 4 in the model, 5 was asked for"):
        import_graph(model([helper.make_node("Relu", ["x"], ["y"])]), shapes={"x": (1, 5, 8, 8)})


def test_a_float_model_without_calibration() -> None:
    with pytest.raises(QuantisationError, match="fauxdna quantize"):
        front(model([helper.make_node("Relu", ["x"], ["y"])]))


def test_strict_names_the_nodes_and_the_remedy() -> None:
    build = Builder()
    build.node("Sin", [build.pair(build.node("LpNormalization", [build.input("x", (1, 4))], "n"), (0.02, 128))], "y")
    build.output("y")
    with pytest.raises(PlacementError, match=r"(?s)LpNormalization 'LpNormalization.n': .* has no array form.*without strict"):
        front(build.model(), strict=True)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_damaged_models_give_a_sentence_or_a_program(data: st.DataObject) -> None:
    build = Builder()
    x = build.pair(build.input("x", (1, 4, 5, 5)), (0.02, 128))
    w = build.weights("w", np.ones((4, 4, 3, 3), np.int8), np.full(4, 0.01, np.float32), 0)
    build.node("Identity", [build.pair(build.node("Conv", [x, w], "c", kernel_shape=[3, 3]), (0.02, 1))], "y")
    build.output("y")
    whole = bytearray(build.model().SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CompileError):
        front(bytes(whole))
