"""From a QDQ graph to array layers and CPU nodes.

``lower`` walks the graph once. Each node's rule (see ``rules``) either records its outputs as values, from which layers are
made when a consumer asks for a form, or says why it has none; then the node runs on the CPU. Adding an operator is adding a
rule: see docs/operators.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import Unsupported
from ..graph import Graph
from . import convolution, elementwise, movement, normalisation, pooling, quantisation
from .rules import RULES
from .state import CpuNode, Lowering

_MODULES = (convolution, elementwise, movement, normalisation, pooling, quantisation)


def lower(graph: Graph, refused: Mapping[str, str] | None = None) -> Lowering:
    """Lower every node of ``graph`` (QDQ form, shapes inferred) but those ``refused``, by name, with the reason."""
    lowering = Lowering(graph)
    lowering.tensor_names.update(graph.types)  # the array's own tensors get other names than those that cross its border
    for node in graph.nodes:
        rule = RULES.get(node.op) if node.domain == "" else None
        try:
            if refused and node.name in refused:
                raise Unsupported(refused[node.name])
            if rule is None:
                raise Unsupported(f"{node.op} has no array form")
            rule(lowering, node)
        except Unsupported as reason:
            lowering.add_cpu(node, str(reason))
    for name in graph.output_names:
        lowering.export(name)
    return lowering


__all__ = ["CpuNode", "Lowering", "lower"]
