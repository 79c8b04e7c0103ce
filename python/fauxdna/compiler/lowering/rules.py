"""The table of lowering rules: ONNX operator -> function that records the node's outputs as values, or raises Unsupported."""

from __future__ import annotations

from collections.abc import Callable

from ..graph import Node
from .state import Lowering

Rule = Callable[[Lowering, Node], None]

RULES: dict[str, Rule] = {}


def lowers(*operators: str) -> Callable[[Rule], Rule]:
    """Register the decorated function as the rule for ``operators`` of the default ONNX domain."""

    def register(rule: Rule) -> Rule:
        for operator in operators:
            RULES[operator] = rule
        return rule

    return register
