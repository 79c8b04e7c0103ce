"""The front end as one call: a model in any accepted form to segments, CPU steps and the placement report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto

from ..artifact.program import NodePlacement
from .codegen import refusal
from .errors import CompileError, ModelError, QuantisationError
from .fusion import Item, fuse
from .graph import Graph
from .ir import Layer
from .lowering import Lowering, lower
from .onnx_import import Shapes, import_graph, load
from .placement import refuse_cpu, report
from .quantise import quantise_graph
from .segments import Cut, cut

QUANTISED = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul"})


@dataclass(frozen=True)
class Front:
    """What the front end found: the program without its code."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    cut: Cut
    nodes: tuple[NodePlacement, ...]


def front(
    model: str | Path | bytes | ModelProto,
    *,
    shapes: Shapes | None = None,
    calibration: Iterable[Mapping[str, np.ndarray]] | None = None,
    strict: bool = False,
    tell: Callable[[str, float], None] = lambda stage, fraction: None,
) -> Front:
    """Everything before code generation; arguments and errors as for ``compiler.compile``."""
    try:
        return _front(load(model), shapes, calibration, strict, tell)
    except CompileError:
        raise
    except MemoryError as error:
        raise ModelError(f"the model needs more memory than there is: {error}; choose smaller input shapes") from error
    except Exception as error:  # a malformed model that no check of ours foresaw
        raise ModelError(f"the model cannot be compiled: {type(error).__name__}: {error}; check it with onnx.checker") from error


def _front(
    loaded: ModelProto,
    shapes: Shapes | None,
    calibration: Iterable[Mapping[str, np.ndarray]] | None,
    strict: bool,
    tell: Callable[[str, float], None],
) -> Front:
    graph = _eight_bit_graph(loaded, shapes, calibration, tell)
    tell("placing layers", 0.3)
    lowering, items = _placed(graph)
    nodes = report(loaded, lowering)
    if strict:
        refuse_cpu(nodes, items)
    inputs = tuple(value.name for value in graph.inputs)
    outputs = tuple(graph.output_names)
    return Front(graph.name, inputs, outputs, cut(lowering, items), nodes)


def _placed(graph: Graph) -> tuple[Lowering, list[Item]]:
    """Lowers the graph, again without the nodes of layers that the back end refuses, until there are none."""
    operators = {node.name for node in graph.nodes if node.op not in ("QuantizeLinear", "DequantizeLinear")}
    refused: dict[str, str] = {}
    while True:
        lowering = lower(graph, refused)
        items = fuse(lowering.items, graph.output_names)
        found = {
            node: why
            for item in items
            if isinstance(item, Layer) and (why := refusal(item)) is not None
            for node in item.nodes
            if node in operators and node not in refused
        }
        if not found:
            return lowering, items
        refused |= found


def _eight_bit_graph(
    model: ModelProto,
    shapes: Shapes | None,
    calibration: Iterable[Mapping[str, np.ndarray]] | None,
    tell: Callable[[str, float], None],
) -> Graph:
    if any(node.op_type in QUANTISED for node in model.graph.node):
        return import_graph(model, shapes)
    if calibration is None:
        raise QuantisationError(
            "the model is float32; the array computes in 8 bits: quantise it first (fauxdna quantize MODEL --calibration ...) "
            "or give calibration inputs"
        )
    tell("quantising", 0.05)
    return quantise_graph(model, calibration, shapes)
