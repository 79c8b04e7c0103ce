"""Rewriting a float32 graph before it is quantised: fewer, larger operators with the same meaning.

Every rule is a function from a node to whether it changed the graph; ``prepare`` runs them until none does. A rewritten node
keeps the names of what it absorbed in ``origins``, so the placement report still speaks of the user's nodes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .graph import Array, Graph, Node

Rule = Callable[[Graph, Node], bool]


def prepare(graph: Graph) -> None:
    """Fold and fuse in place: no-op data movement, batch normalisation, biases, means over pixels, gates, softmax."""
    changed = True
    while changed:
        changed = False
        for rule in RULES:
            for node in list(graph.nodes):
                if any(node is alive for alive in graph.nodes) and rule(graph, node):
                    changed = True
        if changed:
            graph.prune()
            graph.infer()


def sole_consumer(graph: Graph, name: str) -> Node | None:
    """The only node that reads ``name``, if there is exactly one and it is no graph output."""
    readers = [node for node in graph.nodes if name in node.reads()]
    return readers[0] if len(readers) == 1 and name not in graph.output_names else None


def _replace(graph: Graph, old: Node, kept: Node) -> None:
    """``kept`` takes over ``old``'s output and origins; ``old`` goes."""
    kept.outputs = [old.output]
    kept.origins = kept.origins + old.origins
    graph.remove([old])


def _bypass(graph: Graph, node: Node) -> bool:
    if node.output in graph.output_names or graph.is_captured(node.output):
        return False
    graph.rename_uses(node.output, node.inputs[0])
    graph.remove([node])
    return True


def remove_no_operation(graph: Graph, node: Node) -> bool:
    """Data movement that moves nothing: Slice of everything, Expand, Reshape or Pad to the same shape, Cast to the same type."""
    if (
        node.op not in ("Slice", "Expand", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Pad", "Tile", "Transpose")
        or node.domain
    ):
        return False
    shape = graph.shape(node.inputs[0])
    if shape is None or shape != graph.shape(node.output) or node.inputs[0] in graph.constants:
        return False
    if node.op == "Slice" and len(node.inputs) > 4:
        steps = graph.constants.get(node.inputs[4])
        if steps is None or (steps < 0).any():
            return False
    if node.op == "Pad" and ((pads := graph.constants.get(node.inputs[1])) is None or pads.any()):
        return False
    if node.op == "Transpose":
        moved = [axis for axis in node.get("perm", range(len(shape))[::-1]) if shape[axis] > 1]
        if moved != sorted(moved):
            return False
    return _bypass(graph, node)


def fold_batch_normalisation(graph: Graph, node: Node) -> bool:
    """Conv, BatchNormalization -> Conv with other weights and a bias."""
    if node.op != "BatchNormalization" or len([o for o in node.outputs if o]) != 1 or node.get("training_mode", 0):
        return False
    conv = graph.producers.get(node.inputs[0])
    if conv is None or conv.op not in ("Conv", "ConvTranspose") or sole_consumer(graph, conv.output) is not node:
        return False
    weights = graph.constants.get(conv.inputs[1])
    values = [graph.constants.get(name) for name in node.inputs[1:5]]
    if weights is None or any(value is None for value in values) or (conv.op == "ConvTranspose" and conv.get("group", 1) != 1):
        return False
    gamma, beta, mean, variance = (np.asarray(value, np.float64) for value in values)
    factor = gamma / np.sqrt(variance + float(node.get("epsilon", 1e-5)))
    bias = _bias(graph, conv)
    if bias is None:
        return False
    axis = 0 if conv.op == "Conv" else 1
    shape = [1] * weights.ndim
    shape[axis] = -1
    scaled = (weights.astype(np.float64) * factor.reshape(shape)).astype(weights.dtype)
    shifted = ((bias.astype(np.float64) - mean) * factor + beta).astype(weights.dtype)
    _set_weights(graph, conv, scaled, shifted)
    _replace(graph, node, conv)
    return True


def _bias(graph: Graph, conv: Node) -> Array | None:
    """The constant bias of a convolution, zeros if it has none, None if it is not constant."""
    if len(conv.inputs) > 2 and conv.inputs[2]:
        return graph.constants.get(conv.inputs[2])
    weights = graph.constants[conv.inputs[1]]
    channels = weights.shape[0] if conv.op == "Conv" else weights.shape[1] * int(conv.get("group", 1))
    return np.zeros(channels, weights.dtype)


def _set_weights(graph: Graph, conv: Node, weights: Array, bias: Array) -> None:
    name = graph.add_constant(f"{conv.inputs[1]}_folded", weights)
    conv.inputs = [conv.inputs[0], name, graph.add_constant(f"{conv.name}_bias", bias)]


def fold_bias(graph: Graph, node: Node) -> bool:
    """Conv, (Squeeze of trailing dimensions,) Add of one constant per channel -> Conv with that bias."""
    if node.op != "Add":
        return False
    for at in (0, 1):
        added = graph.constants.get(node.inputs[1 - at])
        source = graph.producers.get(node.inputs[at])
        if added is None or source is None or sole_consumer(graph, source.output) is not node:
            continue
        squeeze = source if source.op in ("Squeeze", "Reshape") else None
        conv = graph.producers.get(source.inputs[0]) if squeeze else source
        if conv is None or conv.op not in ("Conv", "ConvTranspose") or conv.inputs[1] not in graph.constants:
            continue
        before, after = graph.shape(conv.output), graph.shape(node.output)
        if before is None or after is None or graph.shape(source.output) != after:
            continue
        if squeeze and (sole_consumer(graph, conv.output) is not squeeze or before[: len(after)] != after or len(after) < 2):
            continue
        bias = _bias(graph, conv)
        spread = _per_channel(added, len(after), after[1])
        if bias is None or spread is None:
            continue
        _set_weights(graph, conv, graph.constants[conv.inputs[1]], (bias + spread).astype(bias.dtype))
        _replace(graph, node, source)
        return True
    return False


def _per_channel(constant: Array, rank: int, channels: int) -> Array | None:
    """``constant``, broadcast to ``rank`` dimensions, as one value per channel (dimension 1), if it differs along no other."""
    if constant.ndim > rank:
        return None
    shape = (1,) * (rank - constant.ndim) + constant.shape
    if any(size != 1 for axis, size in enumerate(shape) if axis != 1):
        return None
    return np.broadcast_to(constant.reshape(-1), (channels,))


def fold_scale(graph: Graph, node: Node) -> bool:
    """Conv, Mul by one constant per channel -> Conv with other weights."""
    if node.op != "Mul":
        return False
    for at in (0, 1):
        factor = graph.constants.get(node.inputs[1 - at])
        conv = graph.producers.get(node.inputs[at])
        if factor is None or factor.size < 2 or conv is None or conv.op != "Conv" or conv.inputs[1] not in graph.constants:
            continue
        shape = graph.shape(node.output)
        spread = None if shape is None else _per_channel(factor, len(shape), shape[1])
        bias = _bias(graph, conv)
        if spread is None or bias is None or sole_consumer(graph, conv.output) is not node or shape != graph.shape(conv.output):
            continue
        weights = graph.constants[conv.inputs[1]]
        scaled = weights * spread.reshape(-1, *[1] * (weights.ndim - 1))
        _set_weights(graph, conv, scaled.astype(weights.dtype), (bias * spread).astype(bias.dtype))
        _replace(graph, node, conv)
        return True
    return False


def normalisation_to_convolution(graph: Graph, node: Node) -> bool:
    """A BatchNormalization that no convolution precedes -> a depthwise convolution of one tap."""
    if node.op != "BatchNormalization" or len([o for o in node.outputs if o]) != 1 or node.get("training_mode", 0):
        return False
    shape = graph.shape(node.inputs[0])
    values = [graph.constants.get(name) for name in node.inputs[1:5]]
    if shape is None or len(shape) not in (3, 4) or any(value is None for value in values):
        return False
    gamma, beta, mean, variance = (np.asarray(value, np.float64) for value in values)
    factor = gamma / np.sqrt(variance + float(node.get("epsilon", 1e-5)))
    taps = [1] * (len(shape) - 2)
    weights = graph.add_constant(f"{node.name}_scale", factor.reshape(-1, 1, *taps).astype(np.float32))
    bias = graph.add_constant(f"{node.name}_shift", (beta - mean * factor).astype(np.float32))
    node.op, node.inputs = "Conv", [node.inputs[0], weights, bias]
    node.attributes = {"group": shape[1], "kernel_shape": taps}
    return True


def sum_to_add(graph: Graph, node: Node) -> bool:
    """Sum of several tensors -> additions of two."""
    if node.op != "Sum" or len(node.inputs) < 2:
        return False
    total, steps = node.inputs[0], []
    for index, name in enumerate(node.inputs[1:-1]):
        out = f"{node.output}_{index}"
        steps.append(Node("Add", f"{node.name}_{index}", [total, name], [out], {}, "", node.origins))
        total = out
    graph.insert_before(node, steps)
    node.op, node.inputs = "Add", [total, node.inputs[-1]]
    return True


def flatten_to_convolution(graph: Graph, node: Node) -> bool:
    """A matrix product with an image flattened before it -> a convolution whose window is the whole image.

    Channels lie innermost in the array's memory, outermost in ONNX's: as a convolution the image needs no reordering.
    """
    if node.op not in ("MatMul", "Gemm") or node.get("transA", 0) or node.get("alpha", 1.0) != 1 or node.get("beta", 1.0) != 1:
        return False
    flat = graph.producers.get(node.inputs[0])
    weights = graph.constants.get(node.inputs[1])
    image = graph.shape(flat.inputs[0]) if flat is not None and flat.op in ("Reshape", "Flatten", "Squeeze") else None
    if flat is None or image is None or weights is None or weights.ndim != 2 or len(image) != 4 or image[0] != 1:
        return False
    if graph.shape(flat.output) != (1, image[1] * image[2] * image[3]) or image[2] * image[3] == 1:
        return False
    matrix = weights if node.op == "Gemm" and node.get("transB", 0) else weights.T
    bias = graph.constants.get(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    if len(node.inputs) > 2 and node.inputs[2] and (bias is None or bias.size not in (1, matrix.shape[0])):
        return False
    taps = graph.add_constant(f"{node.inputs[1]}_taps", np.ascontiguousarray(matrix).reshape(-1, *image[1:]))
    inputs = [flat.inputs[0], taps]
    if bias is not None:
        inputs.append(graph.add_constant(f"{node.inputs[2]}_row", np.broadcast_to(bias.reshape(-1), (matrix.shape[0],)).copy()))
    conv = Node("Conv", node.name, inputs, [f"{node.output}_image"], {"kernel_shape": list(image[2:])}, "", node.origins)
    shape = graph.add_constant(f"{node.output}_shape", np.array([1, matrix.shape[0]], np.int64))
    back = Node("Reshape", f"{node.name}_row", [f"{node.output}_image", shape], [node.output], {}, "", node.origins)
    graph.insert_before(node, [conv, back])
    graph.remove([node])
    return True


def mean_to_pool(graph: Graph, node: Node) -> bool:
    """ReduceMean over height and width -> GlobalAveragePool."""
    shape = graph.shape(node.inputs[0]) if node.op == "ReduceMean" else None
    if shape is None or len(shape) < 3 or not node.get("keepdims", 1):
        return False
    axes = node.get("axes")
    if axes is None and len(node.inputs) > 1 and node.inputs[1] in graph.constants:
        axes = graph.constants[node.inputs[1]].tolist()
    if axes is None or sorted(axis % len(shape) for axis in axes) != list(range(2, len(shape))):
        return False
    node.op, node.attributes, node.inputs = "GlobalAveragePool", {}, node.inputs[:1]
    return True


def merge_gate(graph: Graph, node: Node) -> bool:
    """X + x * s, s one value per channel -> x * (s + 1): one pass over x instead of two."""
    if node.op != "Add":
        return False
    for at in (0, 1):
        product = graph.producers.get(node.inputs[at])
        other = node.inputs[1 - at]
        if (
            product is None
            or product.op != "Mul"
            or other not in product.inputs
            or sole_consumer(graph, product.output) is not node
        ):
            continue
        gate = product.inputs[1 - product.inputs.index(other)]
        if gate == other or gate in graph.constants or other in graph.constants or graph.shape(gate) == graph.shape(other):
            continue
        one = graph.add_constant("one", np.ones((), np.float32))
        raised = f"{product.output}_gate"
        step = Node("Add", f"{node.name}_gate", [gate, one], [raised], {}, "", node.origins)
        graph.insert_before(product, [step])
        product.inputs = [other, raised]
        _replace(graph, node, product)
        return True
    return False


def recognise_softmax(graph: Graph, node: Node) -> bool:
    """exp(x - max(x)) / sum(exp(x - max(x))), written out with reshapes, over the last dimension -> Softmax."""
    if node.op != "Div":
        return False
    producers = graph.producers
    exponent = producers.get(node.inputs[0])
    total = _through(graph, node.inputs[1], ("Reshape", "Expand", "Unsqueeze"))
    if exponent is None or exponent.op != "Exp" or total is None or total.op != "ReduceSum":
        return False
    if total.inputs[0] != exponent.output:
        return False
    difference = producers.get(exponent.inputs[0])
    if difference is None or difference.op != "Sub":
        return False
    source = difference.inputs[0]
    shape = graph.shape(source)
    largest = _through(graph, difference.inputs[1], ("Reshape", "Expand", "Unsqueeze", "Max"))
    if largest is None or largest.op != "ReduceMax" or largest.inputs[0] != source or shape is None:
        return False
    if any(_reduced_axes(graph, reduction, len(shape)) != [len(shape) - 1] for reduction in (total, largest)):
        return False
    if graph.shape(difference.output) != shape or any(d != 1 for d in shape[:-1]):
        return False  # with one row, every reshape between the sum and the division is a broadcast
    absorbed = [exponent, difference, total, largest]
    soft = Node("Softmax", node.name, [source], [node.output], {"axis": -1}, "", node.origins)
    soft.origins = soft.origins + tuple(name for old in absorbed for name in old.origins)
    graph.insert_before(node, [soft])
    graph.remove([node])
    return True


def _through(graph: Graph, name: str, operators: tuple[str, ...]) -> Node | None:
    """The first producer above ``name`` that is none of ``operators``; a Max is passed if its other operand is -infinity."""
    node = graph.producers.get(name)
    while node is not None and node.op in operators:
        if node.op == "Max":
            names = [n for n in node.inputs if not (graph.scalar(n) is not None and graph.scalar(n) == -np.inf)]
            if len(names) != 1:
                return node
            node = graph.producers.get(names[0])
        else:
            node = graph.producers.get(node.inputs[0])
    return node


def _reduced_axes(graph: Graph, node: Node, rank: int) -> list[int] | None:
    axes = node.get("axes")
    if axes is None and len(node.inputs) > 1:
        constant = graph.constants.get(node.inputs[1])
        axes = None if constant is None else constant.tolist()
    return None if axes is None else sorted(axis % rank for axis in axes)


RULES: tuple[Rule, ...] = (
    remove_no_operation,
    fold_batch_normalisation,
    fold_bias,
    fold_scale,
    normalisation_to_convolution,
    sum_to_add,
    flatten_to_convolution,
    mean_to_pool,
    merge_gate,
    recognise_softmax,
)
