"""The placement report: for every node of the user's model where it runs, why, and how many multiply-accumulates it has."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto

from ..artifact.program import NodePlacement
from .errors import PlacementError
from .fusion import Item
from .lowering import CpuNode, Lowering
from .macs import node_macs

ARRAY, CPU, FOLDED = "array", "cpu", "folded"
LISTED = 12
"""Nodes that an error message lists before it says how many more there are."""


def report(model: ModelProto, lowering: Lowering) -> tuple[NodePlacement, ...]:
    """One entry per node of ``model``, in its order; nodes that quantisation added come last."""
    graph = lowering.graph
    entries: dict[str, NodePlacement] = {}
    for node in graph.nodes:
        if node.name in lowering.on_cpu:
            place, why = CPU, lowering.on_cpu[node.name]
        else:
            place, why = ARRAY, lowering.on_array.get(node.name, "part of the layer that uses it")
        macs = node_macs(graph, node)
        owner = node.name if node.name in node.origins or not node.origins else node.origins[0]
        entries[owner] = NodePlacement(owner, node.op, place, why, macs)
        for origin in node.origins:
            if origin != owner:
                entries[origin] = NodePlacement(origin, "", place, f"part of {owner}")
    result: list[NodePlacement] = []
    for index, proto in enumerate(model.graph.node):
        name = proto.name or f"{proto.op_type}_{index}"
        entry = entries.pop(name, None)
        if entry is None:
            result.append(NodePlacement(name, proto.op_type, FOLDED, "constant, or without effect"))
        else:
            result.append(NodePlacement(name, proto.op_type, entry.place, entry.why, entry.macs))
    result += entries.values()
    return tuple(result)


def refuse_cpu(nodes: Sequence[NodePlacement], items: Sequence[Item]) -> None:
    """Raise PlacementError if anything runs on the CPU.

    Raises:
        PlacementError: lists the nodes, why they have no place on the array, and what to do.
    """
    cpu = [(node.op, node.name, node.why) for node in nodes if node.place == CPU]
    named = {name for _, name, _ in cpu}
    cpu += [
        (i.node.op, i.node.name, i.why)
        for i in items
        if isinstance(i, CpuNode) and i.node.name not in named and not i.node.origins
    ]
    if not cpu:
        return
    lines = [f"  {op} {name!r}: {why}" for op, name, why in cpu[:LISTED]]
    if len(cpu) > LISTED:
        lines.append(f"  and {len(cpu) - LISTED} more")
    raise PlacementError(
        f"strict: {len(cpu)} of {len(nodes)} nodes have no place on the array:\n"
        + "\n".join(lines)
        + "\nQuantise the model (fauxdna quantize), replace these operators, or compile without strict to run them on the CPU."
    )
