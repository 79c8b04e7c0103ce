"""What is known of an ONNX tensor while a graph is lowered: where it lies, or what still has to be done to have it.

A float tensor of a QDQ graph usually never exists on the array: it is an 8-bit tensor seen through its scale, a function of
one, or a sum not yet quantised. The consumer decides which form is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ...abi.tile_program import ElementType
from .. import ir
from ..errors import Unsupported
from ..graph import Node

Order = tuple[int, ...]
"""ONNX dimensions from the outermost to the innermost in memory; the last one is the channels."""


@dataclass(frozen=True)
class Placed:
    """An ONNX tensor of ``shape`` on the array, its dimensions lying in ``order``."""

    tensor: ir.Tensor
    shape: tuple[int, ...]
    order: Order

    @property
    def dense(self) -> bool:
        """Whether no padding lies between pixels, so that dimensions may be regrouped."""
        return self.tensor.channels * ir.ELEMENT_BYTES[self.tensor.type] == self.tensor.pixel_pitch


def spread(order: Order, shape: tuple[int, ...]) -> list[int]:
    """The dimensions longer than 1, in memory order."""
    return [axis for axis in order if shape[axis] > 1]


def has_order(placed: Placed, wanted: Order, shape: tuple[int, ...] | None = None) -> bool:
    """Whether the bytes of ``placed`` are also those of the same tensor in ``wanted`` order."""
    shape = placed.shape if shape is None else shape
    if spread(placed.order, shape) != spread(wanted, shape):
        return False
    have, want = placed.order[-1], wanted[-1]
    if have == want or (shape[have] == 1 and shape[want] == 1):
        return True
    width = ir.ELEMENT_BYTES[placed.tensor.type]
    return placed.dense and shape[want] * width % 4 == 0


@dataclass
class Value:
    """Base: the graph nodes that this value stands for and that no layer has taken yet."""

    nodes: tuple[Node, ...] = field(default=(), kw_only=True)


@dataclass
class External(Value):
    """Computed on the CPU, or an input of the model."""

    name: str
    shape: tuple[int, ...]


@dataclass
class Eight(Value):
    """An 8-bit tensor seen as float: (element - zero) * scale. ``pending``: still an external float32 tensor to be quantised."""

    type: ElementType
    scale: np.float32
    zero: int
    shape: tuple[int, ...]
    placed: Placed | None = None
    pending: External | None = None

    @property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest element."""
        return (0, 255) if self.type is ElementType.U8 else (-128, 127)


@dataclass
class Curve(Value):
    """A function of the elements of one 8-bit tensor; ``nodes`` compute it from ``start``, the tensor's float form."""

    base: Eight
    start: str
    name: str


@dataclass
class Target:
    """The 8-bit form a consumer wants: type, scale, zero point, and the tensor's name."""

    name: str
    type: ElementType
    scale: np.float32
    zero: int


@dataclass
class Deferred(Value):
    """A layer that waits for its output form. ``emit(target, low, high)`` makes it: 8-bit with a clamp, or float32 (None)."""

    name: str
    shape: tuple[int, ...]
    emit: Callable[[Target | None, int, int, tuple[Node, ...]], Placed]
    clamp: tuple[float, float] = (-np.inf, np.inf)
    add_bias: Callable[[str], Deferred] | None = None
    """A product without bias: the product with the named constant as its bias, or Unsupported."""


@dataclass
class Floating(Value):
    """A float32 tensor on the array."""

    placed: Placed


def quantised_bounds(target: Target, clamp: tuple[float, float]) -> tuple[int, int]:
    """Bounds of the 8-bit result when the float result is clamped first. Exact: rounding is monotone."""
    low, high = (0, 255) if target.type is ElementType.U8 else (-128, 127)
    if np.isfinite(clamp[0]):
        low = int(np.clip(np.rint(np.float32(clamp[0]) / target.scale) + target.zero, low, high))
    if np.isfinite(clamp[1]):
        high = int(np.clip(np.rint(np.float32(clamp[1]) / target.scale) + target.zero, low, high))
    return low, high


def require(condition: bool, reason: str) -> None:
    """Raise Unsupported(reason) unless ``condition``."""
    if not condition:
        raise Unsupported(reason)
