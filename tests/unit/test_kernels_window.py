"""DEPTHWISE, POOL, REDUCE and REQUANTISE against numpy integers, SRS against Python integers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from _tile import Tile, fault, pad_channels, quantise, run
from hypothesis import given, settings
from hypothesis import strategies as st

from fauxdna.abi.tile_program import ElementType, Fault, Opcode, OutputFlags, PoolKind, Requantise, SrsRounding, SrsSaturation

Integers = npt.NDArray[np.int64]


@dataclass
class Shape:
    """A window's shape: (height, width) pairs, and channels."""

    out: tuple[int, int]
    channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    extra: int = 0
    """Bytes between pixels."""

    def taps(self, x: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """x[h][w][c] as [kernel rows * columns][out h][out w][c]."""
        (height, width), (sh, sw), (dh, dw) = self.out, self.stride, self.dilation
        rows, columns = self.kernel
        return np.stack([x[r * dh :: sh, c * dw :: sw][:height, :width] for r in range(rows) for c in range(columns)])

    def place(self, tile: Tile, rng: np.random.Generator, signed: bool) -> tuple[int, Integers, dict[str, int]]:
        """Random input in the tile: its address, its values, and the descriptor's shape fields but the output pitches."""
        pairs = zip(self.out, self.kernel, self.stride, self.dilation, strict=True)
        height, width = ((out - 1) * stride + (kernel - 1) * dilation + 1 for out, kernel, stride, dilation in pairs)
        low = -128 if signed else 0
        x = rng.integers(low, low + 256, (height, width, self.channels))
        pixel = self.channels + self.extra
        address = tile.reserve(height * width * pixel)
        np.ndarray(x.shape, np.uint8, tile.memory, address, (width * pixel, pixel, 1))[:] = x.astype(np.uint8)
        layout = {
            "out_height": self.out[0],
            "out_width": self.out[1],
            "channels": self.channels,
            "kernel_height": self.kernel[0],
            "kernel_width": self.kernel[1],
            "stride_height": self.stride[0],
            "stride_width": self.stride[1],
            "dilation_height": self.dilation[0],
            "dilation_width": self.dilation[1],
            "in_row_pitch": width * pixel,
            "in_pixel_pitch": pixel,
            "in_type": ElementType.S8 if signed else ElementType.U8,
        }
        return address, x, layout

    def out_pitches(self, size: int) -> dict[str, int]:
        """Output pitches for packed elements of ``size`` bytes."""
        return {"out_row_pitch": self.out[1] * self.channels * size, "out_pixel_pitch": self.channels * size}

    def read(self, tile: Tile, address: int, dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
        """The packed output."""
        size = np.dtype(dtype).itemsize
        return tile.get(address, dtype, (*self.out, self.channels), (*self.out_pitches(size).values(), size))


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
shapes = st.builds(
    Shape,
    out=st.tuples(st.integers(1, 5), st.integers(1, 12)),
    channels=st.integers(1, 50),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 7)),
    stride=pairs,
    dilation=st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 2), (3, 3)]),
    extra=st.sampled_from([0, 0, 1, 14]),
)


def run_depthwise(shape: Shape, signed: bool, in_zero: int, seed: int) -> None:
    """Accumulators of one depthwise convolution."""
    rng, tile = np.random.default_rng(seed), Tile(seed)
    address, x, layout = shape.place(tile, rng, signed)
    w = rng.integers(-128, 128, (*shape.kernel, shape.channels))
    padded = np.full((*shape.kernel, -(-shape.channels // 16) * 16), 77, np.int8)
    padded[..., : shape.channels] = w
    weights, output = tile.put(padded), tile.reserve(shape.out[0] * shape.out[1] * shape.channels * 4)
    operands = [address, weights, 0, output]
    cost = run(tile, Opcode.DEPTHWISE, operands, **layout, **shape.out_pitches(4), in_zero=in_zero, out_type=ElementType.S32)
    assert cost[1] == shape.out[0] * shape.out[1] * w.size
    expected = ((shape.taps(x) - in_zero) * w.reshape(-1, 1, 1, shape.channels)).sum(0)
    np.testing.assert_array_equal(shape.read(tile, output, np.int32), expected)


@settings(max_examples=150, deadline=None)
@given(shapes, st.booleans(), st.integers(-128, 255), st.integers(0, 999))
def test_depthwise_accumulators(shape: Shape, signed: bool, in_zero: int, seed: int) -> None:
    run_depthwise(shape, signed, in_zero, seed)


@pytest.mark.parametrize("signed", [False, True], ids=["u8", "s8"])
@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (7, 7), (1, 4), (9, 1)], ids=str)
@pytest.mark.parametrize("stride", [1, 2], ids=["stride1", "stride2"])
@pytest.mark.parametrize("channels", [16, 32, 96, 40])
def test_depthwise_layers_of_real_models(kernel: tuple[int, int], stride: int, channels: int, signed: bool) -> None:
    run_depthwise(Shape((6, 13), channels, kernel, (stride, stride)), signed, 128, 3)


@settings(max_examples=60, deadline=None)
@given(shapes, st.booleans(), st.booleans(), st.booleans(), st.integers(0, 999))
def test_depthwise_quantised(shape: Shape, signed: bool, per_channel: bool, table: bool, seed: int) -> None:
    rng, tile = np.random.default_rng(seed), Tile(seed)
    address, x, layout = shape.place(tile, rng, signed)
    w = rng.integers(-128, 128, (*shape.kernel, shape.channels))
    padded = np.zeros((*shape.kernel, -(-shape.channels // 16) * 16), np.int8)
    padded[..., : shape.channels] = w
    bias = rng.integers(-9000, 9000, shape.channels)
    scale = (rng.random(shape.channels if per_channel else 1) * 0.01).astype(np.float32)
    lookup = rng.permutation(256).astype(np.uint8)
    block = pad_channels(bias.astype(np.int32)).tobytes()
    block += (pad_channels(scale) if per_channel else np.array([scale[0], 0, 0, 0], np.float32)).tobytes()
    block += lookup.tobytes() if table else b""
    weights, params = tile.put(padded), tile.put(np.frombuffer(block, np.uint8))
    output = tile.reserve(shape.out[0] * shape.out[1] * shape.channels)
    run(
        tile,
        Opcode.DEPTHWISE,
        [address, weights, params, output],
        **layout,
        **shape.out_pitches(1),
        in_zero=9,
        out_type=ElementType.U8,
        requantise=Requantise.SCALE,
        out_flags=OutputFlags.BIAS | OutputFlags.PER_CHANNEL * per_channel | OutputFlags.TABLE * table,
        out_zero=100,
        clamp_low=3,
        clamp_high=250,
    )
    sums = ((shape.taps(x) - 9) * w.reshape(-1, 1, 1, shape.channels)).sum(0) + bias
    expected = quantise(sums.astype(np.float32) * scale, 100, 3, 250).astype(np.uint8)
    np.testing.assert_array_equal(shape.read(tile, output, np.uint8), lookup[expected] if table else expected)


@settings(max_examples=60, deadline=None)
@given(shapes, st.booleans(), st.booleans(), st.integers(0, 999))
def test_max_pool(shape: Shape, signed: bool, table: bool, seed: int) -> None:
    rng, tile = np.random.default_rng(seed), Tile(seed)
    address, x, layout = shape.place(tile, rng, signed)
    lookup = rng.permutation(256).astype(np.uint8)
    params, output = tile.put(lookup), tile.reserve(shape.out[0] * shape.out[1] * shape.channels)
    flags = OutputFlags.TABLE if table else 0
    operands = [address, params, output]
    run(tile, Opcode.POOL, operands, **layout, **shape.out_pitches(1), kind=PoolKind.MAX, out_flags=flags)
    expected = shape.taps(x).max(0).astype(np.uint8)
    np.testing.assert_array_equal(shape.read(tile, output, np.uint8), lookup[expected] if table else expected)


@settings(max_examples=60, deadline=None)
@given(shapes, st.booleans(), st.integers(0, 999))
def test_average_pool(shape: Shape, signed: bool, seed: int) -> None:
    rng, tile = np.random.default_rng(seed), Tile(seed)
    address, x, layout = shape.place(tile, rng, signed)
    scale = np.array([1.25 / (shape.kernel[0] * shape.kernel[1]), 0, 0, 0], np.float32)
    params, output = tile.put(scale), tile.reserve(shape.out[0] * shape.out[1] * shape.channels)
    run(
        tile,
        Opcode.POOL,
        [address, params, output],
        **layout,
        **shape.out_pitches(1),
        kind=PoolKind.SUM,
        in_zero=40,
        out_type=ElementType.U8,
        requantise=Requantise.SCALE,
        out_zero=40,
        clamp_high=255,
    )
    expected = quantise((shape.taps(x) - 40).sum(0).astype(np.float32) * scale[0], 40, 0, 255)
    np.testing.assert_array_equal(shape.read(tile, output, np.uint8), expected)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 90), st.integers(1, 80), st.sampled_from([np.uint8, np.int8, np.int32]), st.integers(0, 999))
def test_reduce(rows: int, channels: int, dtype: type, seed: int) -> None:
    rng, tile = np.random.default_rng(seed), Tile(seed)
    x = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (rows, channels), dtype, endpoint=True)
    kind = {np.uint8: ElementType.U8, np.int8: ElementType.S8, np.int32: ElementType.S32}[dtype]
    address, output = tile.put(x), tile.reserve(4 * channels)
    pitch = channels * x.itemsize
    fields = {"rows": rows, "channels": channels, "in_pitch": pitch, "in_type": kind, "in_zero": -5, "out_type": ElementType.S32}
    run(tile, Opcode.REDUCE, [address, 0, output], **fields)
    expected = (x.astype(np.int64) + 5).sum(0)
    np.testing.assert_array_equal(tile.get(output, np.int32, (channels,), (4,)), expected.astype(np.int32))


def srs(value: int, shift: int, mode: SrsRounding) -> int:
    """The mode's definition on exact fractions."""
    exact = Fraction(value, 1 << shift)
    floor, ceil = math.floor(exact), math.ceil(exact)
    truncated, extended = (floor, ceil) if exact >= 0 else (ceil, floor)
    plain = {
        SrsRounding.FLOOR: floor,
        SrsRounding.CEIL: ceil,
        SrsRounding.SYM_FLOOR: truncated,
        SrsRounding.SYM_CEIL: extended,
    }
    if mode in plain:
        return plain[mode]
    if exact - floor != Fraction(1, 2):
        return math.floor(exact + Fraction(1, 2))
    even, odd = (floor, ceil) if floor % 2 == 0 else (ceil, floor)
    return {
        SrsRounding.NEG_INF: floor,
        SrsRounding.POS_INF: ceil,
        SrsRounding.SYM_ZERO: truncated,
        SrsRounding.SYM_INF: extended,
        SrsRounding.CONV_EVEN: even,
        SrsRounding.CONV_ODD: odd,
    }[mode]


RANGES = {
    ElementType.U8: (0, 255),
    ElementType.S8: (-128, 127),
    ElementType.S16: (-32768, 32767),
    ElementType.S32: (-(2**31), 2**31 - 1),
}
DTYPES = {ElementType.U8: np.uint8, ElementType.S8: np.int8, ElementType.S16: np.int16, ElementType.S32: np.int32}


@pytest.mark.parametrize("mode", SrsRounding, ids=lambda mode: mode.name)
@pytest.mark.parametrize("saturation", SrsSaturation, ids=lambda saturation: saturation.name)
@pytest.mark.parametrize("out_type", RANGES, ids=lambda kind: kind.name)
@pytest.mark.parametrize("shift", [0, 1, 7, 31, 40])
def test_shift_round_saturate(mode: SrsRounding, saturation: SrsSaturation, out_type: ElementType, shift: int) -> None:
    rng, tile = np.random.default_rng(shift), Tile()
    halves = [n * (1 << max(shift - 1, 0)) + d for n in range(-9, 10) for d in (-1, 0, 1)]
    values = np.array([v for v in [*halves, -(2**31), 2**31 - 1, *rng.integers(-(2**31), 2**31, 40)] if -(2**31) <= v < 2**31])
    low, high = RANGES[out_type]
    zero = 3
    address, output = tile.put(values.astype(np.int32)), tile.reserve(4 * len(values))
    run(
        tile,
        Opcode.REQUANTISE,
        [address, 0, output],
        rows=1,
        channels=len(values),
        in_type=ElementType.S32,
        out_type=out_type,
        requantise=Requantise.SRS,
        out_zero=zero,
        clamp_low=low,
        clamp_high=high,
        srs_shift=shift,
        srs_mode=mode | saturation << 8,
    )
    expected = []
    for value in values:
        result = srs(int(value), shift, mode) + zero
        if saturation is SrsSaturation.NONE:
            result = (result - low) % (high - low + 1) + low
        expected.append(min(max(result, -high if saturation is SrsSaturation.SYMMETRIC and low else low), high))
    got = tile.get(output, DTYPES[out_type], (len(values),), (np.dtype(DTYPES[out_type]).itemsize,))
    assert got.tolist() == expected


@pytest.mark.parametrize("scale", [0.0, 1.0, -0.37, 3e-5, 1e30, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("out_type", [*RANGES, ElementType.F32], ids=lambda kind: kind.name)
def test_any_scale_is_deterministic(scale: float, out_type: ElementType) -> None:
    rng, tile = np.random.default_rng(2), Tile()
    values = np.concatenate([[0, 1, -1, 2**31 - 1, -(2**31)], rng.integers(-(2**31), 2**31, 95)]).astype(np.int32)
    address, params = tile.put(values), tile.put(np.array([scale, 0, 0, 0], np.float32))
    output = tile.reserve(4 * len(values))
    low, high = RANGES.get(out_type, (0, 0))
    fields = {"rows": 1, "channels": len(values), "in_type": ElementType.S32, "requantise": Requantise.SCALE}
    bounds = {"out_type": out_type, "clamp_low": low, "clamp_high": high}
    run(tile, Opcode.REQUANTISE, [address, params, output], **fields, **bounds)
    with np.errstate(all="ignore"):
        product = values.astype(np.float32) * np.float32(scale)
    if out_type is ElementType.F32:
        np.testing.assert_array_equal(tile.get(output, np.float32, (100,), (4,)), product)
        return
    expected = np.clip(np.rint(np.where(np.isnan(product), -np.inf, product).astype(np.float64)), low, high)
    got = tile.get(output, DTYPES[out_type], (100,), (np.dtype(DTYPES[out_type]).itemsize,))
    np.testing.assert_array_equal(got, expected.astype(np.int64))


def test_accumulate_adds_to_the_output() -> None:
    tile = Tile()
    address, output = tile.put(np.arange(20, dtype=np.int32)), tile.put(np.full(20, 2**31 - 5, np.int32))
    fields = {"rows": 2, "channels": 10, "in_pitch": 40, "out_pitch": 40, "in_type": ElementType.S32, "out_type": ElementType.S32}
    run(tile, Opcode.REQUANTISE, [address, 0, output], **fields, out_flags=OutputFlags.ACCUMULATE)
    expected = (np.arange(20, dtype=np.int64) + 2**31 - 5).astype(np.int32)
    np.testing.assert_array_equal(tile.get(output, np.int32, (20,), (4,)), expected)


BASE = {
    "out_height": 2,
    "out_width": 2,
    "channels": 4,
    "kernel_height": 2,
    "kernel_width": 2,
    "stride_height": 1,
    "stride_width": 1,
}
BASE |= {
    "dilation_height": 1,
    "dilation_width": 1,
    "in_row_pitch": 12,
    "in_pixel_pitch": 4,
    "out_row_pitch": 8,
    "out_pixel_pitch": 4,
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"channels": 0}, Fault.BAD_DESCRIPTOR),
        ({"kind": 2}, Fault.BAD_DESCRIPTOR),
        ({"out_flags": 1}, Fault.BAD_DESCRIPTOR),
        ({"dilation_width": 0}, Fault.BAD_DESCRIPTOR),
        ({"in_row_pitch": 0, "in_pixel_pitch": 0, "kernel_height": 2**16, "kernel_width": 2**16}, Fault.BAD_DESCRIPTOR),
        ({"kernel_width": 2**20, "in_pixel_pitch": 2**32 - 1}, Fault.DATA_BOUNDS),
        ({"out_row_pitch": 4}, Fault.OVERLAP),
        ({"out_height": 2**14, "out_row_pitch": 8, "in_row_pitch": 0}, Fault.DATA_BOUNDS),
    ],
)
def test_bad_pools_fault(change: dict[str, int], expected: Fault) -> None:
    assert fault(Tile(), Opcode.POOL, [0, 1024, 2048], **(BASE | change)) is expected


@pytest.mark.parametrize(
    "change",
    [
        {"requantise": Requantise.NONE, "out_type": ElementType.U8},
        {"requantise": Requantise.SRS, "out_type": ElementType.F32},
        {"requantise": Requantise.SRS, "out_type": ElementType.U8, "clamp_high": 255, "srs_shift": 63},
        {"requantise": Requantise.SRS, "out_type": ElementType.U8, "clamp_high": 255, "srs_mode": 4},
        {"requantise": Requantise.SRS, "out_type": ElementType.U8, "clamp_high": 255, "srs_mode": 2 << 8},
        {"requantise": Requantise.SCALE, "out_type": ElementType.BF16},
        {"requantise": Requantise.SCALE, "out_type": ElementType.U8, "clamp_low": 9, "clamp_high": 8},
        {"requantise": Requantise.SCALE, "out_type": ElementType.U8, "clamp_high": 255, "out_zero": -1},
        {"requantise": Requantise.SCALE, "out_type": ElementType.S16, "clamp_high": 255, "out_flags": OutputFlags.TABLE},
        {"requantise": Requantise.NONE, "out_type": ElementType.S32, "out_flags": OutputFlags.PER_CHANNEL},
        {"requantise": Requantise.SCALE, "out_type": ElementType.S32, "out_flags": OutputFlags.ACCUMULATE},
        {"requantise": Requantise.NONE, "out_type": ElementType.S32, "out_flags": 16},
    ],
    ids=str,
)
def test_meaningless_output_stages_fault(change: dict[str, int]) -> None:
    fields = {"rows": 1, "channels": 16, "in_type": ElementType.S32} | change
    assert fault(Tile(), Opcode.REQUANTISE, [0, 1024, 4096], **fields) is Fault.BAD_DESCRIPTOR
