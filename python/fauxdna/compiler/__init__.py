"""ONNX models to programs for the array: import, quantisation, lowering to layers, fusion, segmentation, code."""

from __future__ import annotations

from .errors import CompileError, ModelError, PlacementError, QuantisationError
from .front import Front, front
from .quantise import quantize

__all__ = ["CompileError", "Front", "ModelError", "PlacementError", "QuantisationError", "front", "quantize"]
