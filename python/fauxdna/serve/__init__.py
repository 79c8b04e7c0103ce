"""Owners of dies: who makes a die and lets hosts reach its functions. The only importer of ``fauxdna.device``."""

from fauxdna.device.faults import Fault, FaultKind

from .local import LocalDie
from .slot import Slot

__all__ = ["Fault", "FaultKind", "LocalDie", "Slot"]
