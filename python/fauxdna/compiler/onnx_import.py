"""Reading ONNX models that nobody vouches for: check, limit, fix shapes, fold what is constant.

A model is refused before anything is computed from it: ``onnx.checker`` first, then our own limits on sizes, then shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, helper, version_converter

from .errors import ModelError
from .functions import FUNCTIONS
from .graph import Graph, Node
from .qoperator import rewrite

MAXIMUM_FILE = 1 << 30
"""Bytes of a model file; chosen: above every model whose weights fit the device, below protobuf's own 2 GiB limit."""
MAXIMUM_NODES = 100_000
MAXIMUM_TENSOR = 1 << 30
"""Bytes of one tensor (4 bytes an element); chosen, the reach of a 30-bit buffer offset."""
MAXIMUM_FOLDED = 1 << 30
"""Bytes that constant folding may produce in all."""
OPSET = 17
"""Models below this opset are raised to it: per-axis quantisation needs 13, LayerNormalization 17."""

PER_AXIS_OPSET = 13
"""From this opset on, QuantizeLinear and DequantizeLinear take one scale per channel."""

Shapes = Mapping[str, Sequence[int]]


def load(model: str | Path | bytes | ModelProto) -> ModelProto:
    """Read and check an ONNX model.

    Args:
        model: a path, the file's bytes, or a parsed model (which is not changed).

    Raises:
        ModelError: the file is missing, too large, no ONNX model, refers to external data, or fails onnx.checker.
    """
    if isinstance(model, ModelProto):
        parsed = ModelProto()
        parsed.CopyFrom(model)
    else:
        parsed = _parse(model)
    _check(parsed)
    return parsed


def _parse(model: str | Path | bytes) -> ModelProto:
    if isinstance(model, bytes):
        data, where = model, "the given bytes"
    else:
        path = Path(model)
        where = str(path)
        try:
            size = path.stat().st_size
            if size > MAXIMUM_FILE:
                raise ModelError(f"{where} has {size} bytes; a model file may have at most {MAXIMUM_FILE}")
            data = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{where} cannot be read: {error.strerror or error}") from error
    parsed = ModelProto()
    try:
        parsed.ParseFromString(data)
    except DecodeError as error:
        raise ModelError(f"{where} is not an ONNX model: its protobuf encoding is broken") from error
    if not parsed.HasField("graph"):
        raise ModelError(f"{where} is not an ONNX model: it holds no graph")
    return parsed


def _check(model: ModelProto) -> None:
    graph = model.graph
    if len(graph.node) > MAXIMUM_NODES:
        raise ModelError(f"the model has {len(graph.node)} nodes; at most {MAXIMUM_NODES} are taken")
    for text in _texts(graph):
        if not isinstance(text, str):  # protobuf gives bytes where they are not UTF-8
            raise ModelError(f"the name {text!r} is not UTF-8; the file is damaged")
    for tensor in _tensors(graph):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise ModelError(
                f"initialiser {tensor.name!r} lies in another file; only self-contained models are taken: "
                "save it with onnx.save_model(..., save_as_external_data=False)"
            )
        if any(d < 0 for d in tensor.dims):
            raise ModelError(f"initialiser {tensor.name!r} has a negative dimension: {list(tensor.dims)}")
        _limit(tensor.name, tensor.dims)
    for value in (*graph.input, *graph.output, *graph.value_info):
        _limit(value.name, [d.dim_value for d in value.type.tensor_type.shape.dim if d.dim_value > 0])
    shapeless = [value.type.tensor_type for value in graph.output if not value.type.tensor_type.HasField("shape")]
    for kind in shapeless:  # ONNX Runtime takes outputs without a shape, the checker does not
        kind.shape.SetInParent()
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise ModelError(f"the model fails onnx.checker: {text}") from error
    for kind in shapeless:
        kind.ClearField("shape")
    defined = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        missing = [name for name in node.input if name and name not in defined]
        if missing:
            raise ModelError(f"node {node.name or node.op_type!r} reads {missing[0]!r}, which nothing before it writes")
        defined.update(node.output)


def _texts(graph: onnx.GraphProto) -> Iterator[object]:
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output, *(a.name for a in node.attribute))
    yield graph.name
    yield from (tensor.name for tensor in graph.initializer)
    yield from (value.name for value in (*graph.input, *graph.output, *graph.value_info))


def _tensors(graph: onnx.GraphProto) -> list[TensorProto]:
    found = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                found.append(attribute.t)
            found.extend(attribute.tensors)
            if attribute.HasField("g"):
                found.extend(_tensors(attribute.g))
            for inner in attribute.graphs:
                found.extend(_tensors(inner))
    return found


def _limit(name: str, dims: Sequence[int]) -> None:
    size = 4
    for dim in dims:
        size *= max(int(dim), 1)
    if size > MAXIMUM_TENSOR:
        raise ModelError(
            f"tensor {name!r} of shape {list(dims)} needs {size} bytes; one tensor may need at most {MAXIMUM_TENSOR}: "
            "choose smaller input shapes"
        )


def fix_shapes(model: ModelProto, shapes: Shapes | None) -> None:
    """Give every input of ``model`` a fixed shape, in place: from ``shapes``; a batch dimension left open becomes 1.

    Raises:
        ModelError: ``shapes`` names no input or contradicts the model, or a dimension stays open.
    """
    shapes = shapes or {}
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: value for value in model.graph.input if value.name not in constants}
    for name in shapes:
        if name not in inputs:
            raise ModelError(f"shapes names {name!r}, which is no input of the model; its inputs are {sorted(inputs)}")
    for name, value in inputs.items():
        if not value.type.HasField("tensor_type"):
            raise ModelError(f"input {name!r} is not a tensor; only tensor inputs are taken")
        dims = value.type.tensor_type.shape.dim
        given = shapes.get(name)
        if given is not None and len(given) != len(dims):
            raise ModelError(f"input {name!r} has {len(dims)} dimensions, the shape given for it has {len(given)}: {list(given)}")
        for axis, dim in enumerate(dims):
            known = dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
            wanted = int(given[axis]) if given is not None else (known or (1 if axis == 0 else None))
            if wanted is None or wanted < 1:
                raise ModelError(
                    f"input {name!r}: dimension {axis} is open ({dim.dim_param or '?'}); "
                    f"give the whole shape, such as shapes={{{name!r}: (1, ...)}} or --shape {name}=1,..."
                )
            if known is not None and known != wanted:
                raise ModelError(f"input {name!r}: dimension {axis} is {known} in the model, {wanted} was asked for")
            dim.Clear()
            dim.dim_value = wanted
        _limit(name, [d.dim_value for d in dims])
    del model.graph.value_info[:]
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()


def raise_opset(model: ModelProto) -> ModelProto:
    """The model at opset ``OPSET`` or above.

    Raises:
        ModelError: onnx.version_converter has no adapter for one of its operators.
    """
    version = next((opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")), 1)
    foreign = any(node.domain not in ("", "ai.onnx") for node in model.graph.node)
    if version >= OPSET or (foreign and version >= PER_AXIS_OPSET):  # the converter knows ONNX's own operators only
        return model
    try:
        raised = version_converter.convert_version(model, OPSET)
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise ModelError(
            f"the model's opset {version} cannot be raised to {OPSET}: {text}; export it with opset {OPSET}"
        ) from error
    for opset in model.opset_import:  # the converter drops other domains
        if opset.domain not in ("", "ai.onnx") and all(o.domain != opset.domain for o in raised.opset_import):
            raised.opset_import.append(opset)
    return raised


def import_graph(model: str | Path | bytes | ModelProto, shapes: Shapes | None = None) -> Graph:
    """A checked graph with fixed shapes, at opset >= ``OPSET``, constants folded, identities removed.

    Raises:
        ModelError: see ``load`` and ``fix_shapes``.
    """
    parsed = load(model)
    for index, node in enumerate(parsed.graph.node):
        if not node.name:
            node.name = f"{node.op_type}_{index}"
    fix_shapes(parsed, shapes)
    graph = Graph(raise_opset(parsed))
    rewrite(graph)
    graph.infer()
    for name, known in graph.types.items():
        if known.shape is not None:
            _limit(name, [d or 1 for d in known.shape])
    while fold(graph):
        graph.infer()
    _real_scalars(graph)
    graph.prune()
    return graph


def fold(graph: Graph) -> bool:
    """One round of folding: Constant, Shape of fixed shapes, Identity, Dropout, and nodes with only constant inputs."""
    changed = False
    dead: list[Node] = []
    outputs = set(graph.output_names)
    for node in graph.walk(lambda n: n.domain == ""):
        if node.op == "Constant" and isinstance(node.attributes.get("value"), TensorProto):
            graph.constants[node.output] = onnx.numpy_helper.to_array(node.attributes["value"])
        elif node.op == "Constant" and ("value_float" in node.attributes or "value_floats" in node.attributes):
            value = node.attributes.get("value_float", node.attributes.get("value_floats"))
            graph.constants[node.output] = np.array(value, np.float32)
        elif node.op == "Constant" and ("value_int" in node.attributes or "value_ints" in node.attributes):
            graph.constants[node.output] = np.array(node.attributes.get("value_int", node.attributes.get("value_ints")), np.int64)
        elif node.op == "Shape" and (shape := graph.shape(node.inputs[0])) is not None:
            graph.constants[node.output] = np.array(shape[slice(node.get("start", 0), node.get("end"))], np.int64)
        elif _is_identity(node, graph) and node.output not in outputs and not graph.is_captured(node.output):
            graph.rename_uses(node.output, node.inputs[0])
        elif _is_identity(node, graph) and node.output in outputs and _give_output_name(graph, node):
            pass
        else:
            continue
        dead.append(node)
        changed = True
    graph.remove(dead)
    return _evaluate(graph) or changed


def _real_scalars(graph: Graph) -> None:
    """Replace quantised one-element constants by what they stand for: operands of element-wise functions."""
    for node in graph.walk(lambda n: n.op == "DequantizeLinear" and n.inputs[0] in graph.constants):
        values = [graph.constants.get(name) for name in node.inputs if name]
        if any(value is None or value.size != 1 for value in values) or node.output in graph.output_names:
            continue
        steps, scale = (float(value.reshape(-1)[0]) for value in values[:2] if value is not None)
        zero = float(values[2].reshape(-1)[0]) if len(values) > 2 and values[2] is not None else 0.0
        if graph.constants[node.inputs[0]].dtype == np.int32 or graph.is_captured(node.output):
            continue  # a bias keeps its integer form
        readers = [reader for reader in graph.consumers.get(node.output, []) if reader.op in FUNCTIONS]
        if readers:
            value = np.array(np.float32(steps - zero) * np.float32(scale), np.float32)
            real = graph.add_constant(node.output, value.reshape(graph.constants[node.inputs[0]].shape))
        for reader in readers:
            reader.inputs = [real if name == node.output else name for name in reader.inputs]


def _is_identity(node: Node, graph: Graph) -> bool:
    if node.op == "Dropout":
        training = node.inputs[2] if len(node.inputs) > 2 else ""
        mask = node.outputs[1] if len(node.outputs) > 1 else ""
        off = not training or (graph.constants.get(training) is not None and not graph.constants[training].any())
        return off and mask not in graph.output_names and not graph.consumers.get(mask)
    if node.op == "Identity":
        return True
    if node.op == "Cast":
        return bool(graph.element(node.inputs[0]) == node.get("to") != 0)
    return False


def _give_output_name(graph: Graph, identity: Node) -> bool:
    """Let the node before an identity write the graph output itself."""
    source = identity.inputs[0]
    producer = graph.producers.get(source)
    if producer is None or source in graph.output_names or graph.is_captured(source):
        return False
    producer.outputs = [identity.output if name == source else name for name in producer.outputs]
    graph.rename_uses(source, identity.output)
    return True


_NEVER = {
    "QuantizeLinear",
    "DequantizeLinear",
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
    "Bernoulli",
}
"""Folding a constant's DequantizeLinear would hide the 8-bit weights; random operators are not constant."""


def _evaluate(graph: Graph) -> bool:
    """Run, once, the part of the graph that depends on constants only."""
    known = set(graph.constants)
    chosen: list[Node] = []
    budget = MAXIMUM_FOLDED
    for node in graph.nodes:
        names = [name for name in node.inputs if name]
        if node.op in _NEVER or node.domain or node.captured() or not known.issuperset(names):
            continue
        if any(isinstance(value, onnx.GraphProto) for value in node.attributes.values()):
            continue
        shapes = [graph.shape(name) for name in node.outputs if name]
        if any(shape is None for shape in shapes):
            continue
        budget -= sum(4 * int(np.prod(shape, dtype=object)) for shape in shapes if shape is not None)
        if budget < 0:
            raise ModelError(f"node {node.name!r}: folding the model's constants needs more than {MAXIMUM_FOLDED} bytes")
        chosen.append(node)
        known.update(name for name in node.outputs if name)
    if not chosen:
        return False
    needed = {name for node in chosen for name in node.inputs if name in graph.constants}
    results = [name for node in chosen for name in node.outputs if name]
    graph.constants.update(run_nodes(graph, chosen, {name: graph.constants[name] for name in sorted(needed)}, results))
    graph.remove(chosen)
    return True


def run_nodes(
    graph: Graph, nodes: Sequence[Node], feeds: Mapping[str, np.ndarray], results: Sequence[str]
) -> dict[str, np.ndarray]:
    """Compute ``results`` of ``nodes`` with ONNX Runtime, all outside values given in ``feeds``."""
    from .graph import to_proto

    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in feeds.items()
    ]
    outputs = [helper.make_tensor_value_info(name, graph.element(name), None) for name in results]
    opsets = [helper.make_opsetid(domain, version) for domain, version in graph.opsets.items()]
    proto = helper.make_graph([to_proto(node) for node in nodes], "part", inputs, outputs)
    model = helper.make_model(proto, opset_imports=opsets, ir_version=graph.ir_version)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        values = session.run(list(results), dict(feeds))
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise ModelError(f"nodes {', '.join(node.name for node in nodes[:4])} cannot be evaluated: {text}") from error
    return dict(zip(results, values, strict=True))
