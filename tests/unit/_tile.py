"""One tile instruction at a time, from Python: memory that is laid out as operands are added."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pytest

from fauxdna import _core
from fauxdna.abi.tile_program import OPERATIONS, Fault, Opcode

MEMORY = 128 * 1024
GUARD = 64

Array = npt.NDArray[np.generic]


class Tile:
    """A tile's data memory. Operands are placed one after another, 64 bytes apart, between bytes of a known pattern."""

    def __init__(self, seed: int = 0, size: int = MEMORY) -> None:
        self.memory = bytearray(np.random.default_rng(seed).integers(0, 256, size, np.uint8).tobytes())
        self._next = GUARD

    def reserve(self, size: int) -> int:
        """Address of ``size`` fresh bytes, 64-byte aligned."""
        address = self._next
        self._next = -(-(address + size + GUARD) // 64) * 64
        assert address + size <= len(self.memory), "the test's operands do not fit in a tile"
        return address

    def put(self, array: Array) -> int:
        """Address of a copy of ``array``."""
        data = np.ascontiguousarray(array).tobytes()
        address = self.reserve(len(data))
        self.memory[address : address + len(data)] = data
        return address

    def get(self, address: int, dtype: npt.DTypeLike, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
        """A copy of the elements at ``address``."""
        return np.ndarray(shape, dtype, self.memory, address, strides).copy()


def run(tile: Tile, opcode: Opcode, operands: Iterable[int], /, **fields: object) -> tuple[int, int, int]:
    """Run the instruction at every SIMD level, check that all levels give the same bytes and cost, and keep them."""
    descriptor = OPERATIONS[opcode].descriptor
    assert descriptor is not None
    packed, addresses = descriptor.pack(**fields), list(operands)
    results = []
    for level in _core.simd_levels():
        memory = bytearray(tile.memory)
        cost = _core.tile_execute(opcode, packed, addresses, memory, level)
        results.append((cost, memory))
    for level, (cost, memory) in zip(_core.simd_levels(), results, strict=True):
        assert cost == results[0][0], level
        if memory != results[0][1]:
            bad = np.flatnonzero(np.frombuffer(memory, np.uint8) != np.frombuffer(results[0][1], np.uint8))
            raise AssertionError(f"{level} differs from scalar in {len(bad)} bytes, first at {bad[0]:#x}")
    tile.memory = results[0][1]
    return results[0][0]


def fault(tile: Tile, opcode: Opcode, operands: Iterable[int], /, **fields: object) -> Fault:
    """The fault that the instruction gives at every level; memory must not change."""
    descriptor = OPERATIONS[opcode].descriptor
    assert descriptor is not None
    packed, addresses, faults = descriptor.pack(**fields), list(operands), set()
    for level in _core.simd_levels():
        memory = bytearray(tile.memory)
        with pytest.raises(ValueError, match="fault") as caught:
            _core.tile_execute(opcode, packed, addresses, memory, level)
        assert memory == tile.memory
        faults.add(Fault(caught.value.args[1]))
    assert len(faults) == 1
    return faults.pop()


def pack_weights(weights: Array, lanes: int = 16) -> Array:
    """[out][kh][kw][in] int8 weights as [out/16][kh][kw][in/4][16][4], rounded up with zeros."""
    out, height, width, depth = weights.shape
    padded = np.zeros((-(-out // lanes) * lanes, height, width, -(-depth // 4) * 4), np.int8)
    padded[:out, :, :, :depth] = weights
    grouped = padded.reshape(padded.shape[0] // lanes, lanes, height, width, padded.shape[3] // 4, 4)
    return np.ascontiguousarray(grouped.transpose(0, 2, 3, 4, 1, 5))


def pad_channels(values: Array) -> Array:
    """A vector rounded up to 16 elements with zeros."""
    padded = np.zeros(-(-len(values) // 16) * 16, values.dtype)
    padded[: len(values)] = values
    return padded


def quantise(product: npt.NDArray[np.float32], zero: int, low: int, high: int) -> npt.NDArray[np.int64]:
    """The SCALE stage's tail on float32 products, in float64 (exact there)."""
    rounded = np.rint(product.astype(np.float64)) + zero
    return np.clip(rounded, low, high).astype(np.int64)
