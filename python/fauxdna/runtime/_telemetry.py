"""The simulated device's own figures, as a step's cost and its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fauxdna.artifact.program import ArrayStep

from ._report import LayerReport


def step_cost(cost: Mapping[str, Any]) -> tuple[int, float, int, int]:
    """Simulated ns, energy in uJ, bytes moved and MACs; zeros where the node does not tell."""
    return (
        int(cost.get("simulated_ns", 0)),
        float(cost.get("energy_pj", 0)) / 1e6,
        int(cost.get("bytes", 0)),
        int(cost.get("macs", 0)),
    )


def layers(step: ArrayStep, events: Sequence[tuple[int, str, str]]) -> tuple[LayerReport, ...]:
    """Each layer's time, from the TRACE operation that begins it in any column to the next layer's, or to the last event."""
    begins: dict[int, int] = {}
    for time, kind, text in events:
        if kind == "trace":
            begins.setdefault(int(text.split()[-1], 0), time)
    order = sorted((begins[layer.trace], layer) for layer in step.layers if layer.trace in begins)
    ends = [time for time, _ in order[1:]] + [max((event[0] for event in events), default=0)]
    return tuple(
        LayerReport(layer.name, layer.kind, end - begin, layer.macs) for (begin, layer), end in zip(order, ends, strict=True)
    )
