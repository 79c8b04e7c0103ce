"""What the compiler says no to.

::

    CompileError (fauxdna.errors.InvalidInput)
    ├── ModelError          the ONNX file itself is wrong, too large, or needs something from outside it
    ├── QuantisationError   a float32 model cannot be made an 8-bit one as asked
    └── PlacementError      strict was asked for and some nodes have no place on the array
"""

from __future__ import annotations

from ..errors import InvalidInput


class CompileError(InvalidInput):
    """A model that this compiler cannot make a program of; the message names the object, the limit and the remedy."""


class ModelError(CompileError):
    """The ONNX model is malformed, exceeds a limit, or refers to data that is not in it."""


class QuantisationError(CompileError):
    """Quantisation cannot be done as asked: no calibration inputs, wrong shapes, non-finite values."""


class PlacementError(CompileError):
    """``strict`` was asked for, but some nodes would run on the CPU; the message lists them, why, and what to do."""


class Unsupported(Exception):
    """Raised by a lowering rule: this node has no array form here, and why. Never leaves the compiler."""
