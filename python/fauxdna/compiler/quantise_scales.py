"""Scales and zero points of 8-bit tensors, chosen so that sums and products of two tensors round alike everywhere.

An addition of two 8-bit tensors can be computed in several ways that are equal in real numbers (dequantise, add, quantise; or
with the ratios of the scales folded first, as ONNX Runtime does) but round differently where the result lies on, or within
float32's error of, the middle between two steps. One step of difference in a deep network ends as noise of the size of the
quantisation noise itself. Where the operands' scales are small odd multiples of powers of two of the result's scale, all
intermediate values are exact or far from a middle, and with an even zero point it does not matter whether it is added before
or after rounding. That costs at most a quarter of the range's resolution.
"""

from __future__ import annotations

from math import ceil, log2

import numpy as np

from .quantise_plan import Plan

MANTISSAS = (4, 5, 6, 7)
"""Scales are one of these times a power of two, times the odd part of the scale they are to be commensurable with."""
LARGEST_ODD = 8
"""Odd parts above this are continued with powers of two only, so that products keep within float32's 24 bits."""
SLACK = 0.992
"""A scale may be this much too small: the ends of the range are then clipped by at most one step."""

Ranges = dict[str, tuple[float, float]]


def choose(plan: Plan, ranges: Ranges, *, signed: bool) -> dict[str, tuple[np.float32, int]]:
    """Scale and zero point of every tensor of ``plan``, those of a group alike."""
    odd: dict[str, int] = {}
    scales: dict[str, float] = {}
    results: set[str] = set()

    def assign(name: str, factor: int) -> None:
        group = plan.group(name)
        if group in scales or name not in ranges:
            return
        low, high = ranges[name]
        scales[group], odd[group] = commensurable(max((high - low) / 255, 1e-12), factor)

    for node in reversed(plan.operators):
        result = plan.results.get(node.name, "")
        if node.op not in ("Add", "Sub", "Mul") or result not in ranges:
            continue
        assign(result, 1)
        results.add(plan.group(result))
        for operand in plan.operands[node.name]:
            assign(operand, odd[plan.group(result)])
    chosen = {}
    for name in plan.tensors:
        group = plan.group(name)
        low, high = ranges[name]
        scale = np.float32(scales.get(group, max((high - low) / 255, 1e-12)))
        zero = round(-low / float(scale))
        if group in results:
            zero = 2 * round(zero / 2)
        chosen[name] = (scale, int(np.clip(zero, 0, 255)) - (128 if signed else 0))
    return chosen


def commensurable(needed: float, factor: int) -> tuple[float, int]:
    """The smallest allowed scale that covers ``needed``, a whole multiple of ``factor`` times a power of two; its odd part."""
    best, best_odd = np.inf, 1
    for mantissa in MANTISSAS if factor <= LARGEST_ODD else (4,):
        whole = factor * mantissa
        scale = whole * 2.0 ** ceil(log2(needed * SLACK / whole))
        if scale < best:
            best, best_odd = scale, whole // (whole & -whole)
    return best, best_odd
