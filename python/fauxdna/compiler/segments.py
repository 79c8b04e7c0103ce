"""Cutting a lowered graph into steps: array segments and CPU models, in an order that respects every dependency."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import onnx
from onnx import TensorProto, helper, numpy_helper

from ..abi.tile_program import ElementType
from ..artifact.program import CpuStep, TensorInfo
from . import ir
from .errors import CompileError
from .fusion import Item, reads, writes
from .graph import Graph, Node, to_proto
from .lowering import CpuNode, Lowering

Key = tuple[int, bool]
"""A step: its phase, and whether it is on the array."""


@dataclass(frozen=True)
class Cut:
    """The steps in order: array segments for the back end, finished CPU steps; and every tensor that crosses a border."""

    steps: tuple[ir.Segment | CpuStep, ...]
    tensors: dict[str, TensorInfo]


def cut(lowering: Lowering, items: Sequence[Item]) -> Cut:
    """Group ``items`` into as few steps as their dependencies allow.

    A step's phase is the number of changes between array and CPU on the longest path to it; items of one kind and phase
    never depend on each other through the other kind, so they form one step.
    """
    graph = lowering.graph
    items = [*items, *_constant_outputs(graph)]
    phases = _phases(items)
    groups: defaultdict[Key, list[Item]] = defaultdict(list)
    for item, phase in zip(items, phases, strict=True):
        groups[phase, isinstance(item, ir.Layer)].append(item)
    _cross(lowering, groups)
    steps: list[ir.Segment | CpuStep] = []
    tensors: dict[str, TensorInfo] = {value.name: _info(lowering, value.name) for value in graph.inputs}
    for index, key in enumerate(sorted(groups)):
        inside = groups[key]
        needed = set(graph.output_names).union(*(_wanted(group) for other, group in groups.items() if other != key))
        if key[1]:
            segment = _segment(f"{graph.name}.{index}", [item for item in inside if isinstance(item, ir.Layer)], needed)
            steps.append(segment)
            for tensor in (*segment.inputs, *segment.outputs):
                tensors.setdefault(tensor.name, _info(lowering, tensor.name))
        else:
            step = cpu_step(lowering, f"{graph.name}.{index}", [item for item in inside if isinstance(item, CpuNode)], needed)
            steps.append(step)
            for name in (*step.inputs, *step.outputs):
                tensors.setdefault(name, _info(lowering, name))
    return Cut(tuple(steps), tensors)


def _wanted(items: Sequence[Item]) -> set[str]:
    """What a step reads and does not write itself."""
    return {name for item in items for name in reads(item)} - {name for item in items for name in writes(item)}


def _cross(lowering: Lowering, groups: dict[Key, list[Item]]) -> None:
    """Carry tensors from one array segment to another as dense float32, which holds 8-bit elements exactly."""
    writers: dict[str, tuple[Key, ir.Tensor]] = {}
    for key, inside in groups.items():
        for item in inside:
            if isinstance(item, ir.Layer):
                writers[item.output.name] = (key, item.output)
    carried: dict[tuple[str, Key], str] = {}
    for key in sorted(key for key in groups if key[1]):
        for item in list(groups[key]):
            for tensor in item.inputs if isinstance(item, ir.Layer) else ():
                home, written = writers.get(tensor.name, (key, tensor))
                known = tensor.name in lowering.exported or tensor.name in lowering.types
                if home == key or known or (tensor.name, key) in carried:
                    continue
                border = f"{tensor.name}@border"
                outside = replace(written, name=border, type=ElementType.F32)
                if border not in lowering.types:
                    lowering.types[border] = ((written.height * written.width * written.channels,), "float32")
                    groups[home].append(ir.Convert(f"carry {tensor.name}", (written,), outside))
                carried[tensor.name, key] = border
                low, high = (-128, 127) if written.type is ElementType.S8 else (0, 255)
                back = ir.Convert(f"fetch {tensor.name}", (outside,), written, clamp_low=low, clamp_high=high)
                groups[key].insert(0, back)


def _constant_outputs(graph: Graph) -> list[CpuNode]:
    """Graph outputs that folding found constant, or that are inputs: a copy on the CPU gives them."""
    found = []
    produced = graph.producers.keys()
    for name in graph.output_names:
        if name in graph.constants and name not in produced:
            stored = graph.add_constant(f"{name}@constant", graph.constants.pop(name))
            found.append(CpuNode(Node("Identity", f"constant {name}", [stored], [name]), "it is constant"))
    return found


def _phases(items: Sequence[Item]) -> list[int]:
    """The phase of each item; layers that write parts of one tensor are kept in one phase, and so in one segment."""
    floor: dict[str, int] = {}
    for _ in range(len(items) + 2):
        phases = _longest(items, floor)
        raised: defaultdict[str, int] = defaultdict(int)
        for item, phase in zip(items, phases, strict=True):
            for name in writes(item):
                raised[name] = max(raised[name], phase)
        if raised == floor:
            return phases
        floor = dict(raised)
    raise CompileError("the model's steps depend on each other in a circle; check it with onnx.checker")


def _longest(items: Sequence[Item], floor: dict[str, int]) -> list[int]:
    """Changes of kind on the longest path to each item, at least ``floor`` of what it writes."""
    writers: defaultdict[str, list[int]] = defaultdict(list)
    phases: list[int] = []
    for at, item in enumerate(items):
        array = isinstance(item, ir.Layer)
        phase = max((floor.get(name, 0) for name in writes(item)), default=0)
        for name in reads(item):
            for other in writers[name]:
                phase = max(phase, phases[other] + (isinstance(items[other], ir.Layer) != array))
        phases.append(phase)
        for name in writes(item):
            writers[name].append(at)
    return phases


def _segment(name: str, layers: list[ir.Layer], needed: set[str]) -> ir.Segment:
    written = {layer.output.name for layer in layers}
    inputs: dict[str, ir.Tensor] = {}
    outputs: dict[str, ir.Tensor] = {}
    for layer in layers:
        for tensor in layer.inputs:
            if tensor.name not in written:
                inputs.setdefault(tensor.name, tensor)
        if layer.output.name in needed:
            outputs.setdefault(layer.output.name, layer.output)
    return ir.Segment(name, tuple(inputs.values()), tuple(outputs.values()), tuple(layers))


def cpu_step(lowering: Lowering, name: str, items: Sequence[CpuNode], needed: set[str]) -> CpuStep:
    """An ONNX model of ``items`` with the constants (and DequantizeLinear of constants) they need."""
    graph = lowering.graph
    producers = graph.producers
    nodes: list[Node] = []
    have: set[str] = set()
    inputs: list[str] = []
    constants: list[str] = []
    for item in items:
        for read in item.node.reads():
            producer = producers.get(read)
            if read in have or read in inputs:
                continue
            if read in graph.constants:
                constants.append(read)
            elif producer is not None and producer.op == "DequantizeLinear" and producer.inputs[0] in graph.constants:
                nodes.append(producer)
                constants += [c for c in producer.inputs if c]
                have.add(read)
                continue
            else:
                inputs.append(read)
            have.add(read)
        nodes.append(item.node)
        have.update(out for out in item.node.outputs if out)
    outputs = [out for item in items for out in item.node.outputs if out and out in needed]
    proto = helper.make_graph(
        [to_proto(node) for node in nodes],
        name,
        [_value(lowering, read) for read in inputs],
        [_value(lowering, out) for out in outputs],
        [numpy_helper.from_array(graph.constants[c], c) for c in dict.fromkeys(constants)],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in graph.opsets.items()]
    model = helper.make_model(proto, opset_imports=opsets, ir_version=graph.ir_version, producer_name="fauxdna")
    return CpuStep(name, model.SerializeToString(deterministic=True), tuple(inputs), tuple(outputs))


def _value(lowering: Lowering, name: str) -> onnx.ValueInfoProto:
    graph = lowering.graph
    if name in lowering.types:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, lowering.types[name][0])
    known = graph.types.get(name)
    if known is None or not known.element:
        raise CompileError(
            f"the type of tensor {name!r} cannot be inferred; run onnx.shape_inference on the model or fix its types"
        )
    return helper.make_tensor_value_info(name, known.element, known.shape)


def _info(lowering: Lowering, name: str) -> TensorInfo:
    """What the runtime must know of a tensor between steps."""
    graph = lowering.graph
    if name in lowering.types:
        shape, kind = lowering.types[name]
        return TensorInfo(name, shape, kind, prod(shape) * 4)
    known = graph.shape(name)
    if known is None:
        raise CompileError(
            f"the shape of {name!r} depends on the input's values; the runtime needs it fixed to allocate its buffer"
        )
    dtype = helper.tensor_dtype_to_np_dtype(graph.element(name))
    return TensorInfo(name, known, str(dtype), (prod(known) * dtype.itemsize + 3) // 4 * 4)
