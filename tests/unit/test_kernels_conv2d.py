"""CONV2D against numpy float64, which is exact for these sums."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from _tile import Tile, fault, pack_weights, pad_channels, quantise, run
from hypothesis import given, settings
from hypothesis import strategies as st

from fauxdna.abi.tile_program import ElementType, Fault, Opcode, OutputFlags, Requantise

Integers = npt.NDArray[np.int64]


@dataclass
class Shape:
    """A convolution's shape: (height, width) pairs, and channels."""

    out: tuple[int, int]
    channels: tuple[int, int]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    extra: tuple[int, int] = (0, 0)
    """Bytes (multiples of 4) between pixels and between rows of the input beyond what they hold."""

    @property
    def in_size(self) -> tuple[int, int]:
        """Rows and columns of the input."""
        pairs = zip(self.out, self.kernel, self.stride, self.dilation, strict=True)
        height, width = ((out - 1) * stride + (kernel - 1) * dilation + 1 for out, kernel, stride, dilation in pairs)
        return height, width


def convolve(x: Integers, w: Integers, shape: Shape) -> Integers:
    """x[h][w][c], w[out][kh][kw][c] -> [h][w][out], each tap a float64 matrix product."""
    (height, width), (sh, sw), (dh, dw) = shape.out, shape.stride, shape.dilation
    total = np.zeros((height, width, w.shape[0]))
    for row in range(shape.kernel[0]):
        for column in range(shape.kernel[1]):
            tap = x[row * dh :: sh, column * dw :: sw][:height, :width]
            total += tap.astype(np.float64) @ w[:, row, column].T.astype(np.float64)
    return total.astype(np.int64)


def place_input(tile: Tile, x: npt.NDArray[np.generic], shape: Shape) -> tuple[int, int, int]:
    """Address, row pitch and pixel pitch of x[h][w][c] in the tile, the gaps left as they were."""
    height, width, depth = x.shape
    pixel = -(-depth * x.itemsize // 4) * 4 + shape.extra[0]
    row = width * pixel + shape.extra[1]
    address = tile.reserve(height * row)
    np.ndarray(x.shape, x.dtype, tile.memory, address, (row, pixel, x.itemsize))[:] = x
    return address, row, pixel


def run_accumulators(shape: Shape, in_type: ElementType, in_zero: int, weight_zero: int, seed: int) -> tuple[Integers, Integers]:
    """The S32 accumulators that the kernel gives, and those it should."""
    rng, tile = np.random.default_rng(seed), Tile(seed)
    out_channels, in_channels = shape.channels
    low, high = (0, 255) if in_type is ElementType.U8 else (-128, 127)
    x = rng.integers(low, high + 1, (*shape.in_size, in_channels))
    w = rng.integers(-128, 128, (out_channels, *shape.kernel, in_channels))
    address, row, pixel = place_input(tile, x.astype(np.uint8 if low == 0 else np.int8), shape)
    weights, output = tile.put(pack_weights(w.astype(np.int8))), tile.reserve(shape.out[0] * shape.out[1] * out_channels * 4)
    cost = run(
        tile,
        Opcode.CONV2D,
        [address, weights, 0, output],
        **fields(shape, row, pixel, 4),
        in_type=in_type,
        in_zero=in_zero,
        weight_zero=weight_zero,
        out_type=ElementType.S32,
    )
    assert cost[1:] == (shape.out[0] * shape.out[1] * w.size, shape.out[0] * shape.out[1] * out_channels)
    got = tile.get(output, np.int32, (*shape.out, out_channels), (shape.out[1] * out_channels * 4, out_channels * 4, 4))
    return got.astype(np.int64), convolve(x - in_zero, w - weight_zero, shape)


def fields(shape: Shape, in_row: int, in_pixel: int, out_size: int) -> dict[str, int]:
    """The descriptor's shape fields, output packed."""
    pixel = shape.channels[0] * out_size
    return {
        "out_height": shape.out[0],
        "out_width": shape.out[1],
        "out_channels": shape.channels[0],
        "in_channels": shape.channels[1],
        "kernel_height": shape.kernel[0],
        "kernel_width": shape.kernel[1],
        "stride_height": shape.stride[0],
        "stride_width": shape.stride[1],
        "dilation_height": shape.dilation[0],
        "dilation_width": shape.dilation[1],
        "in_row_pitch": in_row,
        "in_pixel_pitch": in_pixel,
        "out_row_pitch": shape.out[1] * pixel,
        "out_pixel_pitch": pixel,
    }


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
shapes = st.builds(
    Shape,
    out=st.tuples(st.integers(1, 4), st.integers(1, 17)),
    channels=st.tuples(st.integers(1, 70), st.integers(1, 20)),
    kernel=pairs,
    stride=pairs,
    dilation=pairs,
    extra=st.sampled_from([(0, 0), (4, 0), (0, 4), (12, 8)]),
)


@settings(max_examples=150, deadline=None)
@given(
    shapes,
    st.sampled_from([ElementType.U8, ElementType.S8]),
    st.integers(-128, 255),
    st.sampled_from([0, 0, -7, 128]),
    st.integers(0, 999),
)
def test_accumulators_equal_float64(shape: Shape, in_type: ElementType, in_zero: int, weight_zero: int, seed: int) -> None:
    got, expected = run_accumulators(shape, in_type, in_zero, weight_zero, seed)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    "shape",
    [
        Shape((8, 20), (24, 48), (3, 3)),
        Shape((1, 160), (48, 96)),
        Shape((4, 20), (200, 48), (1, 1), (2, 2)),
        Shape((6, 13), (12, 24), (5, 1)),
        Shape((7, 9), (96, 24), (2, 2)),
        Shape((2, 5), (16, 384)),
        Shape((1, 33), (512, 16)),
    ],
    ids=str,
)
@pytest.mark.parametrize("in_type", [ElementType.U8, ElementType.S8], ids=["u8", "s8"])
def test_layers_of_real_models(shape: Shape, in_type: ElementType) -> None:
    got, expected = run_accumulators(shape, in_type, 3, 0, 5)
    np.testing.assert_array_equal(got, expected)


@settings(max_examples=60, deadline=None)
@given(shapes, st.sampled_from([ElementType.U8, ElementType.S8]), st.booleans(), st.booleans(), st.integers(0, 999))
def test_quantised_output(shape: Shape, out_type: ElementType, per_channel: bool, table: bool, seed: int) -> None:
    rng, tile = np.random.default_rng(seed), Tile(seed)
    out_channels, in_channels = shape.channels
    x = rng.integers(0, 256, (*shape.in_size, in_channels))
    w = rng.integers(-128, 128, (out_channels, *shape.kernel, in_channels))
    bias = rng.integers(-20000, 20000, out_channels)
    scale = (rng.random(out_channels if per_channel else 1) * 0.01).astype(np.float32)
    lookup = rng.permutation(256).astype(np.uint8)
    least = 0 if out_type is ElementType.U8 else -128
    zero, low, high = int(rng.integers(least, least + 256)), least + 5, least + 240
    block = pad_channels(bias.astype(np.int32)).tobytes()
    block += (pad_channels(scale) if per_channel else np.array([scale[0], 0, 0, 0], np.float32)).tobytes()
    block += lookup.tobytes() if table else b""
    address, row, pixel = place_input(tile, x.astype(np.uint8), shape)
    weights, params = tile.put(pack_weights(w.astype(np.int8))), tile.put(np.frombuffer(block, np.uint8))
    output = tile.reserve(shape.out[0] * shape.out[1] * out_channels)
    flags = OutputFlags.BIAS | OutputFlags.PER_CHANNEL * per_channel | OutputFlags.TABLE * table
    run(
        tile,
        Opcode.CONV2D,
        [address, weights, params, output],
        **fields(shape, row, pixel, 1),
        in_type=ElementType.U8,
        in_zero=17,
        out_type=out_type,
        requantise=Requantise.SCALE,
        out_flags=flags,
        out_zero=zero,
        clamp_low=low,
        clamp_high=high,
    )
    product = (convolve(x - 17, w, shape) + bias).astype(np.float32) * scale
    expected = quantise(product, zero, low, high).astype(np.uint8)
    got = tile.get(output, np.uint8, (*shape.out, out_channels), (shape.out[1] * out_channels, out_channels, 1))
    np.testing.assert_array_equal(got, lookup[expected] if table else expected)


@settings(max_examples=40, deadline=None)
@given(
    shapes, st.sampled_from([(ElementType.S16, np.int16), (ElementType.S32, np.int32)]), st.integers(-99, 99), st.integers(0, 999)
)
def test_wide_integers(shape: Shape, kind: tuple[ElementType, type], in_zero: int, seed: int) -> None:
    rng, tile = np.random.default_rng(seed), Tile(seed)
    out_channels, in_channels = shape.channels[0], min(shape.channels[1], 8)
    shape.channels = (out_channels, in_channels)
    x = rng.integers(-3000, 3000, (*shape.in_size, in_channels))
    w = rng.integers(-3000, 3000, (out_channels, *shape.kernel, in_channels))
    address, row, pixel = place_input(tile, x.astype(kind[1]), shape)
    weights = tile.put(w.transpose(1, 2, 3, 0).astype(kind[1]))
    output = tile.reserve(shape.out[0] * shape.out[1] * out_channels * 4)
    run(
        tile,
        Opcode.CONV2D,
        [address, weights, 0, output],
        **fields(shape, row, pixel, 4),
        in_type=kind[0],
        in_zero=in_zero,
        weight_zero=5,
        out_type=ElementType.S32,
    )
    got = tile.get(output, np.int32, (*shape.out, out_channels), (shape.out[1] * out_channels * 4, out_channels * 4, 4))
    expected = convolve(x - in_zero, w - 5, shape)
    np.testing.assert_array_equal(got, expected.astype(np.int32), "sums wrap at 32 bits")


def test_channel_group_through_pitches() -> None:
    """Two groups of a grouped convolution: the second reads and writes the upper channels of the same pixels."""
    rng, tile = np.random.default_rng(1), Tile(1)
    x, w = rng.integers(0, 256, (4, 6, 16)), rng.integers(-128, 128, (24, 3, 3, 8))
    source, output = tile.put(x.astype(np.uint8)), tile.reserve(2 * 4 * 24 * 4)
    for group in range(2):
        weights = tile.put(pack_weights(w[12 * group : 12 * group + 12].astype(np.int8)))
        shape = Shape((2, 4), (12, 8), (3, 3))
        layout = fields(shape, 6 * 16, 16, 4) | {"out_row_pitch": 4 * 96, "out_pixel_pitch": 96}
        operands = [source + 8 * group, weights, 0, output + 48 * group]
        run(tile, Opcode.CONV2D, operands, **layout, in_type=ElementType.U8, out_type=ElementType.S32)
    got = tile.get(output, np.int32, (2, 4, 24), (4 * 96, 96, 4))
    halves = [convolve(x[:, :, 8 * g : 8 * g + 8], w[12 * g : 12 * g + 12], Shape((2, 4), (12, 8), (3, 3))) for g in range(2)]
    np.testing.assert_array_equal(got, np.concatenate(halves, axis=2))


SMALL = Shape((2, 2), (16, 4))


@pytest.mark.parametrize(
    ("change", "operands", "expected"),
    [
        ({"out_height": 0}, None, Fault.BAD_DESCRIPTOR),
        ({"in_type": 4}, None, Fault.BAD_DESCRIPTOR),
        ({"out_type": 99}, None, Fault.BAD_DESCRIPTOR),
        ({"requantise": 3}, None, Fault.BAD_DESCRIPTOR),
        ({"stride_width": 0}, None, Fault.BAD_DESCRIPTOR),
        ({"kernel_height": 2**32 - 1, "kernel_width": 2**32 - 1}, None, Fault.BAD_DESCRIPTOR),
        ({"in_row_pitch": 2**32 - 1, "stride_height": 2**32 - 1}, None, Fault.DATA_BOUNDS),
        ({"in_pixel_pitch": 6}, None, Fault.MISALIGNED),
        ({"out_pixel_pitch": 60}, None, Fault.OVERLAP),
        ({"out_row_pitch": 0}, None, Fault.OVERLAP),
        ({}, [128 * 1024 - 4, 1024, 0, 4096], Fault.DATA_BOUNDS),
        ({}, [0, 2**32 - 1, 0, 4096], Fault.DATA_BOUNDS),
        ({}, [0, 1024, 0, 4098], Fault.MISALIGNED),
        ({}, [0, 1024, 0, 1024 + 60], Fault.OVERLAP),
        ({}, [4096 + 252, 1024, 0, 4096], Fault.OVERLAP),
    ],
)
def test_bad_instructions_fault(change: dict[str, int], operands: list[int] | None, expected: Fault) -> None:
    layout = fields(SMALL, 8, 4, 4) | {"in_type": ElementType.U8, "out_type": ElementType.S32} | change
    assert fault(Tile(), Opcode.CONV2D, operands or [0, 1024, 0, 4096], **layout) is expected
