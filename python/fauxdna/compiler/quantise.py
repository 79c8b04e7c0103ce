"""Static post-training quantisation of float32 models: ``fauxdna quantize``.

Ranges come from ONNX Runtime's calibrator over the caller's inputs; activations get one scale each, weights one per output
channel, biases the product of both. The result is an ordinary QDQ model that ONNX Runtime runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator

from .errors import QuantisationError
from .graph import Array, Graph, Node
from .onnx_import import Shapes, import_graph, run_nodes
from .prepare import prepare
from .quantise_plan import Plan, make_plan
from .quantise_scales import choose

Feeds = Mapping[str, np.ndarray]
GRID = 4096
"""Points at which an activation function is looked at to find where it is flat."""


def quantise(
    model: str | Path | bytes | ModelProto,
    calibration: Iterable[Feeds],
    shapes: Shapes | None = None,
    *,
    signed: bool = False,
    exclude: Collection[str] = (),
) -> ModelProto:
    """Make an 8-bit QDQ model of a float32 one.

    Args:
        model: path, bytes or parsed ONNX model.
        calibration: inputs by name, of the model's shapes and types, like those it will meet (8 to 64 are enough).
        shapes: input shapes where the model leaves them open; taken from the first calibration input if absent.
        signed: int8 activations instead of uint8.
        exclude: names of nodes to leave in float32.

    Returns:
        The quantised model: uint8 (or int8) activations, int8 weights per output channel, int32 biases.

    Raises:
        ModelError: the model cannot be read.
        QuantisationError: there are no calibration inputs, they do not fit, or the model's values are not finite.
    """
    result = quantise_graph(model, calibration, shapes, signed=signed, exclude=exclude).to_model()
    onnx.checker.check_model(result)
    return result


def quantise_graph(
    model: str | Path | bytes | ModelProto,
    calibration: Iterable[Feeds],
    shapes: Shapes | None = None,
    *,
    signed: bool = False,
    exclude: Collection[str] = (),
) -> Graph:
    """``quantise``, as a graph whose nodes still know which nodes of ``model`` they came from."""
    samples = [{name: np.asarray(value) for name, value in feeds.items()} for feeds in calibration]
    if not samples:
        raise QuantisationError("quantisation needs calibration inputs (a few typical inputs by name); none were given")
    if shapes is None:
        shapes = {name: value.shape for name, value in samples[0].items()}
    graph = import_graph(model, shapes)
    if any(node.op in ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul") for node in graph.nodes):
        raise QuantisationError("the model is quantised already; compile it as it is")
    prepare(graph)
    plan = make_plan(graph, exclude)
    if not plan.operators:
        raise QuantisationError("the model has no convolution or matrix product with constant weights to quantise")
    _check_samples(graph, samples)
    ranges = _group_ranges(graph, plan, _calibrate(graph, samples))
    _Writer(graph, plan, ranges, signed).write()
    return graph


def _check_samples(graph: Graph, samples: list[dict[str, np.ndarray]]) -> None:
    for index, feeds in enumerate(samples):
        for value in graph.inputs:
            shape = graph.shape(value.name)
            if value.name not in feeds:
                raise QuantisationError(f"calibration input {index} lacks {value.name!r}")
            if feeds[value.name].dtype.kind == "f" and not np.isfinite(feeds[value.name]).all():
                raise QuantisationError(f"calibration input {index}: {value.name!r} has elements that are not finite numbers")
            if feeds[value.name].shape != shape:
                raise QuantisationError(
                    f"calibration input {index}: {value.name!r} has shape {feeds[value.name].shape}, "
                    f"the model is quantised for {shape}"
                )


class _Samples(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, samples: list[dict[str, np.ndarray]]) -> None:
        self.remaining: Iterator[dict[str, np.ndarray]] = iter(samples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.remaining, None)


def _calibrate(graph: Graph, samples: list[dict[str, np.ndarray]]) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of every float tensor over the calibration inputs."""
    with tempfile.TemporaryDirectory(prefix="fauxdna-") as directory:
        path = Path(directory) / "model.onnx"
        onnx.save_model(graph.to_model(), str(path))
        calibrator = create_calibrator(
            str(path), augmented_model_path=str(Path(directory) / "augmented.onnx"), calibrate_method=CalibrationMethod.MinMax
        )
        calibrator.collect_data(_Samples(samples))
        data = calibrator.compute_data()
    found: dict[str, tuple[float, float]] = {}
    for name, entry in data.items():
        low, high = (float(np.asarray(bound).reshape(-1)[0]) for bound in entry.range_value)
        found[name] = (low, high)
    return found


def _group_ranges(graph: Graph, plan: Plan, measured: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """The range of each 8-bit tensor: 0 included, cut where what follows is flat, shared within a group."""
    own: dict[str, tuple[float, float]] = {}
    for name in plan.tensors:
        low, high = measured[name]
        if not np.isfinite([low, high]).all():
            raise QuantisationError(
                f"tensor {name!r} takes values from {low} to {high} on the calibration inputs; they must be finite"
            )
        own[name] = _useful_range(graph, plan, name, (min(low, 0.0), max(high, 0.0)))
    grouped: dict[str, tuple[float, float]] = {}
    for name, (low, high) in own.items():
        group = plan.group(name)
        before = grouped.get(group, (0.0, 0.0))
        grouped[group] = (min(before[0], low), max(before[1], high))
    return {name: grouped[plan.group(name)] for name in plan.tensors}


def _useful_range(graph: Graph, plan: Plan, name: str, bounds: tuple[float, float]) -> tuple[float, float]:
    """``bounds`` without the ends on which the function chain behind ``name`` no longer changes by a quarter of a step."""
    chain = [node for node in graph.nodes if plan.source.get(node.output) == name]
    readers = graph.consumers.get(name, [])
    if not chain or any(reader not in chain for reader in readers) or name in graph.output_names or bounds[0] == bounds[1]:
        return bounds
    inside = {node.output for node in chain}
    ends = [
        output
        for output in sorted(inside)
        if any(r not in chain for r in graph.consumers.get(output, [])) or output in graph.output_names
    ]
    grid = np.linspace(bounds[0], bounds[1], GRID, dtype=np.float32)
    constants = {n: graph.constants[n] for node in chain for n in node.inputs if n in graph.constants}
    values = run_nodes(graph, chain, {name: grid, **constants}, ends)
    first, last = GRID - 1, 0
    for value in values.values():
        curve = value.reshape(-1).astype(np.float64)
        tolerance = (curve.max() - curve.min()) / 255 / 4
        first = min(first, _flat_run(curve, tolerance))
        last = max(last, GRID - 1 - _flat_run(curve[::-1], tolerance))
    low, high = float(grid[first]), float(grid[last])
    return (min(low, 0.0), max(high, 0.0)) if low < high else bounds


def _flat_run(curve: Array, tolerance: float) -> int:
    """The last index up to which every value lies within ``tolerance`` of the value at that index."""
    highest, lowest = np.maximum.accumulate(curve), np.minimum.accumulate(curve)
    flat = (highest - curve <= tolerance) & (curve - lowest <= tolerance)
    return int(np.flatnonzero(flat)[-1]) if flat.all() else int(np.argmin(flat)) - 1


class _Writer:
    """Puts QuantizeLinear and DequantizeLinear nodes into the graph."""

    def __init__(self, graph: Graph, plan: Plan, ranges: dict[str, tuple[float, float]], signed: bool) -> None:
        self.graph = graph
        self.plan = plan
        self.parameters = choose(plan, ranges, signed=signed)
        self.signed = signed
        self.scales: dict[str, np.float32] = {}

    def write(self) -> None:
        for name in self.plan.tensors:
            self._pair(name)
        for node in self.plan.operators:
            if node.op in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
                self._weights(node)
        self.graph.prune()
        self.graph.infer()

    def _pair(self, name: str) -> None:
        graph = self.graph
        scale, zero = self.parameters[name]
        self.scales[name] = scale
        group = self.plan.group(name)
        scale_name, zero_name = f"{group}_scale", f"{group}_zero_point"
        if scale_name not in graph.constants:
            graph.constants[scale_name] = np.array(scale, np.float32)
            graph.constants[zero_name] = np.array(zero, np.int8 if self.signed else np.uint8)
        to, back = f"{name}_quantized", f"{name}_dequantized"
        graph.rename_uses(name, back)
        quantise = Node("QuantizeLinear", f"{name}_QuantizeLinear", [name, scale_name, zero_name], [to])
        dequantise = Node("DequantizeLinear", f"{name}_DequantizeLinear", [to, scale_name, zero_name], [back])
        producer = graph.producers.get(name)
        if producer is None:
            graph.nodes[:0] = [quantise, dequantise]
        else:
            graph.insert_after(producer, [quantise, dequantise])

    def _weights(self, node: Node) -> None:
        graph = self.graph
        weights = graph.constants[node.inputs[1]].astype(np.float64)
        axis = {"Conv": 0, "ConvTranspose": 1, "MatMul": 1, "Gemm": 0 if node.get("transB", 0) else 1}[node.op]
        if node.op == "ConvTranspose" and node.get("group", 1) != 1:
            axis = 0
        others = tuple(d for d in range(weights.ndim) if d != axis)
        data_scale = float(self.scales[self._root(node.inputs[0])])
        bias_name = self.plan.biases.get(node.name) or (node.inputs[2] if len(node.inputs) > 2 and node.inputs[2] else None)
        bias = None if bias_name is None else graph.constants[bias_name].astype(np.float64).reshape(-1)
        if not np.isfinite(weights).all() or (bias is not None and not np.isfinite(bias).all()):
            raise QuantisationError(f"node {node.name!r} has weights that are not finite numbers")
        scale = np.abs(weights).max(axis=others) / 127
        scale[scale == 0] = 1.0
        if bias is not None and bias.size == scale.size:  # the bias must fit an int32 in steps of data_scale * scale
            scale = np.maximum(scale, np.abs(bias) / (data_scale * 2.0**30))
        scale = scale.astype(np.float32)
        shape = [1] * weights.ndim
        shape[axis] = -1
        stored = np.clip(np.rint(weights / scale.reshape(shape)), -127, 127).astype(np.int8)
        node.inputs[1] = self._constant(node, "weights", stored, scale, axis)
        if bias is None or bias_name is None:
            return
        bias_scale = (np.float32(data_scale) * scale).astype(np.float32)
        steps = np.rint(np.broadcast_to(bias, scale.shape) / bias_scale).astype(np.int32)
        replacement = self._constant(node, "bias", steps, bias_scale, 0)
        if node.op == "MatMul":
            add = next(n for n in graph.nodes if bias_name in n.inputs and node.output in n.inputs)
            add.inputs = [replacement if name == bias_name else name for name in add.inputs]
        else:
            node.inputs[2] = replacement

    def _root(self, name: str) -> str:
        """The 8-bit tensor that ``name`` is (behind its DequantizeLinear and operators that only rename dimensions)."""
        producers = self.graph.producers
        while True:
            producer = producers[name]
            if producer.op == "DequantizeLinear":
                return producers[producer.inputs[0]].inputs[0]
            name = producer.inputs[0]

    def _constant(self, node: Node, kind: str, steps: Array, scale: Array, axis: int) -> str:
        graph = self.graph
        stored = graph.add_constant(f"{node.name}_{kind}_quantized", steps)
        scale_name = graph.add_constant(f"{node.name}_{kind}_scale", scale)
        zero_name = graph.add_constant(f"{node.name}_{kind}_zero_point", np.zeros(scale.shape, steps.dtype))
        output = f"{stored}_dequantized"
        graph.insert_before(
            node,
            [Node("DequantizeLinear", f"{output}_DequantizeLinear", [stored, scale_name, zero_name], [output], {"axis": axis})],
        )
        return output
