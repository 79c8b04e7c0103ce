"""The demo models through the front end, layers computed by the oracle: against ONNX Runtime, and what runs where."""

from __future__ import annotations

import importlib.util
import os
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, shape_inference
from oracle.run_front import execute, signal_to_noise

from fauxdna.compiler import Front, front, ir, quantise
from fauxdna.compiler.onnx_import import fix_shapes, load

pytestmark = [
    pytest.mark.models,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("rapidocr", "magika", "silero_vad", "skimage")),
        reason="needs the demo models: pip install --no-deps rapidocr magika silero-vad, and scikit-image",
    ),
]
NAMES = ["cls_mobile", "magika", "silero", pytest.param("det_small", marks=pytest.mark.slow)]
STRICT = {"cls_mobile", "det_small"}


@cache
def entry(name: str) -> Any:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    from fauxdna.demo.catalogue import CATALOGUE

    return CATALOGUE[name]


@cache
def feeds(name: str) -> tuple[dict[str, Any], ...]:
    return tuple(dict(feed) for feed in entry(name).calibration())


@cache
def quantised(name: str) -> ModelProto:
    return quantise(entry(name).path(), feeds(name), shapes=dict(entry(name).shapes))


@cache
def made(name: str) -> Front:
    return front(quantised(name), strict=name in STRICT)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_equal_those_of_onnx_runtime(name: str) -> None:
    session = onnxruntime.InferenceSession(quantised(name).SerializeToString(), providers=["CPUExecutionProvider"])
    for feed in feeds(name)[: 1 if name == "det_small" else 2]:
        for expected, found in zip(session.run(None, feed), execute(made(name), feed), strict=True):
            assert expected.shape == found.shape
            assert signal_to_noise(expected, found) >= 40


@pytest.mark.parametrize("name", sorted(STRICT))
def test_one_segment_and_nothing_on_the_cpu(name: str) -> None:
    assert [type(step) for step in made(name).cut.steps] == [ir.Segment]
    assert all(node.place != "cpu" for node in made(name).nodes)


@pytest.mark.parametrize("name", ["cls_mobile", "magika", "det_small"])
def test_macs_are_those_of_the_float_model_and_nearly_all_on_the_array(name: str) -> None:
    nodes = made(name).nodes
    total = sum(node.macs for node in nodes)
    assert total == counted(entry(name).path(), entry(name).shapes)
    assert sum(node.macs for node in nodes if node.place == "array") >= 0.95 * total


def counted(path: Path, shapes: Any) -> int:
    """Multiply-accumulates of convolutions and matrix products, from the model file alone."""
    model = load(path)
    fix_shapes(model, shapes)
    # The shapes that matter here depend on constants that ONNX's shape inference can follow.
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    sizes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    sizes |= {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            sizes[node.output[0]] = list(node.attribute[0].t.dims)
    count = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            count += prod(sizes[node.output[0]]) * prod(sizes[node.input[1]][1:])
        elif node.op_type == "ConvTranspose":
            count += prod(sizes[node.input[0]]) * prod(sizes[node.input[1]][1:])
        elif node.op_type == "MatMul":
            inner, columns = sizes[node.input[1]]
            rows = prod(sizes[node.output[0]][:-1]) if sizes.get(node.output[0]) else 1
            count += max(rows, 1) * inner * columns
    return count


def test_speech_encoder_is_on_the_array_and_its_filter_bank_is_not() -> None:
    places = {node.name: node.place for node in made("silero").nodes if node.op in ("Conv", "LSTM")}
    assert [places[f"/encoder.{layer}/Conv"] for layer in range(4)] == ["array"] * 4
    assert places["/stft/Conv"] == places["/recurrent/LSTM"] == "cpu"


def test_quantised_files_model_keeps_its_answers() -> None:
    session = onnxruntime.InferenceSession(str(entry("magika").path()), providers=["CPUExecutionProvider"])
    eight_bit = onnxruntime.InferenceSession(quantised("magika").SerializeToString(), providers=["CPUExecutionProvider"])
    for feed in feeds("magika"):
        (expected,), (found,) = session.run(None, feed), eight_bit.run(None, feed)
        if expected.max() > 0.9:
            assert expected.argmax() == found.argmax()


@pytest.mark.slow
def test_quantised_detector_finds_the_same_lines() -> None:
    from skimage.measure import label, regionprops

    def boxes(probability: Any) -> list[tuple[int, int, int, int]]:
        return [region.bbox for region in regionprops(label(probability[0, 0] > 0.3)) if region.area > 50]

    def overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
        both = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
        return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)

    page = feeds("det_small")[0]
    session = onnxruntime.InferenceSession(str(entry("det_small").path()), providers=["CPUExecutionProvider"])
    expected = boxes(session.run(None, page)[0])
    found = boxes(onnxruntime.InferenceSession(quantised("det_small").SerializeToString()).run(None, page)[0])
    best = [max(overlap(box, other) for other in found) for box in expected]
    assert len(expected) >= 7
    assert min(best) >= 0.7, "recall 1 at an intersection over union of 0.7"
    assert np.mean(best) >= 0.9


def test_onnx_checker_likes_what_quantisation_writes() -> None:
    onnx.checker.check_model(quantised("cls_mobile"), full_check=True)
