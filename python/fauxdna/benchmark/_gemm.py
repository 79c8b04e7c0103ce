"""Measures the tile's int8 matrix product against the processor's dot-product unit."""

from __future__ import annotations

from .. import _core
from ._model import pinned


def gemm(seconds: float = 3.0) -> dict[str, float]:
    """A CONV2D instruction as matrix product, packing included, against dot products on registers alone, in turn.

    Returns:
        ``fraction_of_peak`` and the two rates in 10^9 operations per second.
    """
    with pinned({0}):
        return _core.benchmark_gemm(seconds)
