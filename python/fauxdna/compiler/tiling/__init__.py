"""Layers to stages: what each kind of layer becomes on the array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import CompileError
from ..ir import (
    Binary,
    Conv,
    Convert,
    ConvTranspose,
    Layer,
    Normalise,
    Pool,
    Reduce,
    Resize,
    Table,
    Unary,
)
from ..stage import Stage
from .chain import Uses, chain, chain_length, closed
from .context import Context
from .conversion import convert
from .convolution import convolution
from .elementwise import binary, normalise, resize, table, unary
from .grid import Machine
from .pooling import pool, reduce
from .transposed import transposed_convolution

__all__ = ["Context", "Machine", "Uses", "chain", "chain_length", "closed", "stages"]

_RULES: dict[type[Layer], Callable[[Context, Any, int], list[Stage]]] = {
    Conv: convolution,
    ConvTranspose: transposed_convolution,
    Pool: pool,
    Reduce: reduce,
    Binary: binary,
    Table: table,
    Convert: convert,
    Resize: resize,
    Unary: unary,
    Normalise: normalise,
}


def stages(context: Context, layer: Layer, number: int) -> list[Stage]:
    """The stages of layer ``number``.

    Raises:
        CompileError: It has no tile form, or does not fit.
    """
    rule = _RULES.get(type(layer))
    if rule is None:
        raise CompileError(f"layer {layer.name}: {type(layer).__name__} layers have no tile form; leave the layer to the CPU")
    return rule(context, layer, number)
