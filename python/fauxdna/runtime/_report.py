"""What a run cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LayerReport:
    """Simulated time of one layer: from its begin to the next layer's, or to the end of the step."""

    name: str
    kind: str
    simulated_ns: int
    macs: int


@dataclass(frozen=True)
class StepReport:
    """One step of the program. The simulated figures are 0 for a CPU step, and on a real node, which does not tell them."""

    name: str
    place: str
    """``array`` or ``cpu``."""
    wall_ms: float
    simulated_ns: int = 0
    energy_uj: float = 0.0
    bytes_moved: int = 0
    macs: int = 0
    layers: tuple[LayerReport, ...] = ()


@dataclass(frozen=True)
class Report:
    """One run: sums over its steps, and the steps."""

    wall_ms: float
    steps: tuple[StepReport, ...]

    @property
    def simulated_ns(self) -> int:
        """Simulated time on the array, in nanoseconds."""
        return sum(step.simulated_ns for step in self.steps)

    @property
    def energy_uj(self) -> float:
        """Simulated energy, in microjoules."""
        return sum(step.energy_uj for step in self.steps)

    @property
    def bytes_moved(self) -> int:
        """Bytes that DMAs moved."""
        return sum(step.bytes_moved for step in self.steps)

    @property
    def macs(self) -> int:
        """Multiply-accumulates on the array."""
        return sum(step.macs for step in self.steps)

    def __str__(self) -> str:
        lines = [
            f"{self.wall_ms:.2f} ms here; simulated: {self.simulated_ns / 1e6:.3f} ms, {self.energy_uj:.1f} uJ, "
            f"{self.bytes_moved / 1e6:.2f} MB moved, {self.macs / 1e6:.1f} million MACs"
        ]
        for step in self.steps:
            lines.append(f"  {step.place:5} {step.wall_ms:8.2f} ms {step.simulated_ns:10} ns  {step.name}")
            lines += [f"        {layer.kind:>20} {layer.simulated_ns:10} ns  {layer.name}" for layer in step.layers]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        sums = {name: getattr(self, name) for name in ("simulated_ns", "energy_uj", "bytes_moved", "macs")}
        return {"wall_ms": self.wall_ms, **sums, "steps": [asdict(step) for step in self.steps]}


class Outputs(dict[str, Any]):
    """A run's outputs, numpy arrays by name, with its :attr:`report`."""

    def __init__(self, values: Mapping[str, Any], report: Report) -> None:
        super().__init__(values)
        self.report = report
