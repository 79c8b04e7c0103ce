"""BINARY, TABLE, CONVERT, COPY, FILL, PACK, UNARY and NORMALISE against numpy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from _tile import MEMORY, Array, Tile, fault, pack_weights, pad_channels, run
from hypothesis import given, settings
from hypothesis import strategies as st

from fauxdna.abi.tile_program import (
    BinaryOperation,
    Broadcast,
    ElementType,
    Fault,
    NormaliseKind,
    Opcode,
    UnaryOperation,
)

Floats = npt.NDArray[np.float32]
BYTES = {ElementType.U8: np.uint8, ElementType.S8: np.int8}


def to_bf16(values: Floats) -> npt.NDArray[np.uint16]:
    """float32 to bfloat16 bits: half to even, NaN canonical, denormals to zero (the rule written with integers)."""
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16 & 0xFFFF).astype(np.uint16)
    rounded = np.where(rounded & 0x7F80 == 0, rounded & 0x8000, rounded)
    return np.where(np.isnan(values), 0x7FC0, rounded).astype(np.uint16)


def from_bf16(bits: npt.NDArray[np.uint16]) -> Floats:
    """bfloat16 bits to float32, denormals to zero."""
    kept = np.where(bits & 0x7F80 == 0, bits & 0x8000, bits).astype(np.uint32)
    return (kept << 16).view(np.float32)


def random_elements(rng: np.random.Generator, kind: ElementType, shape: tuple[int, ...]) -> Array:
    """Random elements as they lie in memory."""
    if kind in BYTES:
        return rng.integers(0, 256, shape, np.uint8).view(BYTES[kind])
    values = (rng.standard_normal(shape) * 10).astype(np.float32)
    return values if kind is ElementType.F32 else to_bf16(values)


def real(elements: Array, kind: ElementType, zero: int, scale: float) -> Floats:
    """What the elements stand for: one float32 product for 8 bits, the floats themselves otherwise."""
    if kind in BYTES:
        return (elements.astype(np.int32) - zero).astype(np.float32) * np.float32(scale)
    return elements.astype(np.float32) if kind is ElementType.F32 else from_bf16(elements.astype(np.uint16))


def stored(values: Floats, kind: ElementType, zero: int, scale: float, low: int, high: int) -> Array:
    """Elements of ``kind`` for float32 results."""
    if kind in BYTES:
        quotient = (values / np.float32(scale)).astype(np.float32)
        quotient = np.where(np.isnan(quotient), -np.inf, quotient).astype(np.float64)
        return np.clip(np.rint(quotient) + zero, low, high).astype(BYTES[kind])
    return values if kind is ElementType.F32 else to_bf16(values)


NUMPY: dict[BinaryOperation, Callable[[Floats, Floats], Floats]] = {
    BinaryOperation.ADD: np.add,
    BinaryOperation.SUBTRACT: np.subtract,
    BinaryOperation.MULTIPLY: np.multiply,
    BinaryOperation.DIVIDE: np.divide,
    BinaryOperation.MAXIMUM: np.maximum,
    BinaryOperation.MINIMUM: np.minimum,
}
kinds = st.sampled_from([ElementType.U8, ElementType.S8, ElementType.F32, ElementType.BF16])


@settings(max_examples=200, deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 300)),
    st.tuples(kinds, kinds, kinds),
    st.sampled_from(BinaryOperation),
    st.sampled_from(Broadcast),
    st.sampled_from([0, 0, 4, 64]),
    st.integers(0, 999),
)
def test_binary(
    shape: tuple[int, int],
    types: tuple[ElementType, ElementType, ElementType],
    operation: BinaryOperation,
    spread: Broadcast,
    gap: int,
    seed: int,
) -> None:
    rng, tile = np.random.default_rng(seed), Tile(seed)
    (rows, channels), (a_type, b_type, out_type) = shape, types
    channels -= channels % 2 if ElementType.BF16 in types and channels > 1 else 0
    b_shape = {
        Broadcast.NONE: (rows, channels),
        Broadcast.ROW: (1, channels),
        Broadcast.SCALAR: (1, 1),
        Broadcast.COLUMN: (rows, 1),
    }[spread]
    a, b = random_elements(rng, a_type, (rows, channels)), random_elements(rng, b_type, b_shape)
    addresses, pitches = [], []
    for array in (a, b):
        pitch = -(-array.shape[1] * array.itemsize // 4) * 4 + gap if gap or array.itemsize > 1 else array.shape[1]
        address = tile.reserve(array.shape[0] * pitch)
        np.ndarray(array.shape, array.dtype, tile.memory, address, (pitch, array.itemsize))[:] = array
        addresses.append(address)
        pitches.append(pitch)
    size = {ElementType.F32: 4, ElementType.BF16: 2}.get(out_type, 1)
    out_pitch = (channels * size + gap + 3) // 4 * 4
    output = tile.reserve(rows * out_pitch)
    low, high = (0, 255) if out_type is ElementType.U8 else (-128, 127)
    zero = (low + high + 1) // 2 - 1
    run(
        tile,
        Opcode.BINARY,
        [*addresses, output],
        rows=rows,
        channels=channels,
        a_pitch=pitches[0],
        b_pitch=pitches[1],
        out_pitch=out_pitch,
        operation=operation,
        broadcast=spread,
        a_type=a_type,
        b_type=b_type,
        out_type=out_type,
        a_zero=7,
        b_zero=-3,
        out_zero=zero,
        a_scale=0.031,
        b_scale=0.17,
        out_scale=0.12,
        clamp_low=low + 1,
        clamp_high=high - 1,
    )
    with np.errstate(all="ignore"):
        result = NUMPY[operation](real(a, a_type, 7, 0.031), real(b, b_type, -3, 0.17))
        expected = stored(result, out_type, zero, 0.12, low + 1, high - 1)
    got = tile.get(output, expected.dtype, (rows, channels), (out_pitch, size))
    np.testing.assert_array_equal(got, expected)


def test_binary_in_place() -> None:
    rng, tile = np.random.default_rng(0), Tile()
    a, b = rng.integers(0, 256, (5, 40), np.uint8), rng.integers(0, 256, (5, 40), np.uint8)
    first, second = tile.put(a), tile.put(b)
    fields = {"rows": 5, "channels": 40, "a_pitch": 40, "b_pitch": 40, "out_pitch": 40}
    scales = {"a_scale": 1.0, "b_scale": 1.0, "out_scale": 2.0, "clamp_high": 255}
    run(tile, Opcode.BINARY, [first, second, second], **fields, **scales)
    expected = np.rint((a.astype(np.float64) + b) / 2)
    np.testing.assert_array_equal(tile.get(second, np.uint8, (5, 40), (40, 1)), expected)
    assert fault(tile, Opcode.BINARY, [first, second, second + 1], **fields, **scales) is Fault.OVERLAP
    assert fault(tile, Opcode.BINARY, [first, second, second], **fields, **scales, broadcast=Broadcast.ROW) is Fault.OVERLAP


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(1, 200), st.booleans(), st.booleans(), st.integers(0, 999))
def test_table(rows: int, length: int, wide: bool, in_place: bool, seed: int) -> None:
    rng, tile = np.random.default_rng(seed), Tile(seed)
    x = rng.integers(0, 256, (rows, length), np.uint8)
    lookup: Array = rng.standard_normal(256).astype(np.float32) if wide else rng.permutation(256).astype(np.uint8)
    address, table = tile.put(x), tile.put(lookup)
    output = address if in_place and not wide else tile.reserve(x.size * lookup.itemsize)
    fields = {"rows": rows, "row_elements": length, "in_pitch": length, "out_pitch": length * lookup.itemsize}
    run(tile, Opcode.TABLE, [address, table, output], **fields, out_type=ElementType.F32 if wide else ElementType.U8)
    got = tile.get(output, lookup.dtype, x.shape, (length * lookup.itemsize, lookup.itemsize))
    np.testing.assert_array_equal(got, lookup[x])


@pytest.mark.parametrize("out_type", [ElementType.U8, ElementType.S8], ids=["u8", "s8"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_planes_to_quantised_pixels(out_type: ElementType, channels: int) -> None:
    rng, tile = np.random.default_rng(1), Tile()
    planes = (rng.standard_normal((channels, 700)) * 3).astype(np.float32)
    planes[0, :4] = [math.nan, math.inf, -math.inf, 1e30]
    address, output = tile.put(planes), tile.reserve(4 * 700)
    low, high, zero = (0, 255, 114) if out_type is ElementType.U8 else (-128, 127, -14)
    run(
        tile,
        Opcode.CONVERT,
        [address, output],
        pixels=700,
        channels=channels,
        in_pixel_pitch=4,
        in_channel_pitch=2800,
        out_pixel_pitch=4,
        out_channel_pitch=1,
        in_type=ElementType.F32,
        out_type=out_type,
        scale=0.0187,
        zero=zero,
        clamp_low=low,
        clamp_high=high,
        fill_channels=4,
    )
    expected = np.full((700, 4), zero, BYTES[out_type])
    expected[:, :channels] = stored(planes.T, out_type, zero, 0.0187, low, high)
    np.testing.assert_array_equal(tile.get(output, BYTES[out_type], (700, 4), (4, 1)), expected)


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 40)),
    kinds,
    kinds,
    st.booleans(),
    st.booleans(),
    st.integers(0, 3),
    st.integers(0, 999),
)
def test_convert(
    shape: tuple[int, int], in_type: ElementType, out_type: ElementType, in_planes: bool, out_planes: bool, fill: int, seed: int
) -> None:
    if in_type in BYTES and out_type in BYTES:
        return
    rng, tile = np.random.default_rng(seed), Tile(seed)
    pixels, channels = shape
    x = random_elements(rng, in_type, (pixels, channels))
    size = {ElementType.F32: 4, ElementType.BF16: 2}.get(out_type, 1)
    filled = channels + fill
    address, output = tile.put(x.T if in_planes else x), tile.reserve(pixels * filled * size)
    in_pitches = (x.itemsize, pixels * x.itemsize) if in_planes else (channels * x.itemsize, x.itemsize)
    out_pitches = (size, pixels * size) if out_planes else (filled * size, size)
    low, high = (0, 255) if out_type is ElementType.U8 else (-128, 127)
    run(
        tile,
        Opcode.CONVERT,
        [address, output],
        pixels=pixels,
        channels=channels,
        in_pixel_pitch=in_pitches[0],
        in_channel_pitch=in_pitches[1],
        out_pixel_pitch=out_pitches[0],
        out_channel_pitch=out_pitches[1],
        in_type=in_type,
        out_type=out_type,
        scale=0.25,
        zero=11,
        clamp_low=low,
        clamp_high=high,
        fill_channels=filled,
    )
    values = stored(real(x, in_type, 11, 0.25), out_type, 11, 0.25, low, high)
    padding: Array = np.full((pixels, fill), 11, values.dtype)
    if out_type not in BYTES:
        padding = stored(np.full((pixels, fill), 11, np.float32), out_type, 0, 1, 0, 0)
    got = tile.get(output, values.dtype, (pixels, filled), out_pitches)
    np.testing.assert_array_equal(got, np.concatenate([values, padding], axis=1))


def test_bfloat16_edges() -> None:
    """Ties, denormals, infinities and NaNs, both ways."""
    bits = np.arange(65536, dtype=np.uint16)
    tile = Tile(size=1024 * 1024)
    source, middle, back = tile.put(bits), tile.reserve(4 * 65536), tile.reserve(2 * 65536)
    fields = {"pixels": 65536, "channels": 1}
    to_float = {"in_pixel_pitch": 2, "out_pixel_pitch": 4, "in_type": ElementType.BF16, "out_type": ElementType.F32}
    run(tile, Opcode.CONVERT, [source, middle], **fields, **to_float)
    np.testing.assert_array_equal(tile.get(middle, np.float32, (65536,), (4,)), from_bf16(bits))
    nudged = (bits.astype(np.uint32) << 16) + np.tile([0x7FFF, 0x8000, 0x8001, 0xFFFF], 16384).astype(np.uint32)
    tile.memory[middle : middle + 4 * 65536] = nudged.tobytes()
    to_half = {"in_pixel_pitch": 4, "out_pixel_pitch": 2, "in_type": ElementType.F32, "out_type": ElementType.BF16}
    run(tile, Opcode.CONVERT, [middle, back], **fields, **to_half)
    np.testing.assert_array_equal(tile.get(back, np.uint16, (65536,), (2,)), to_bf16(nudged.view(np.float32)))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 7), min_size=4, max_size=4), st.permutations(range(4)), st.sampled_from([1, 2, 4]), st.integers(0, 4)
)
def test_copy(sizes: list[int], order: list[int], element: int, repeat: int) -> None:
    dtype = {1: np.uint8, 2: np.uint16, 4: np.uint32}[element]
    rng, tile = np.random.default_rng(0), Tile()
    x = rng.integers(0, 250, sizes).astype(dtype)
    address, output = tile.put(x), tile.reserve(x.nbytes)
    strides = list(x.strides)
    expected = x
    if repeat < 4:
        strides[repeat] = 0
        expected = np.repeat(np.take(x, [0], axis=repeat), sizes[repeat], axis=repeat)
    expected = np.ascontiguousarray(expected.transpose(order))
    permuted = {"sizes": expected.shape, "in_strides": [strides[axis] for axis in order], "out_strides": expected.strides}
    run(tile, Opcode.COPY, [address, output], element_size=element, **permuted)
    np.testing.assert_array_equal(tile.get(output, dtype, expected.shape, expected.strides), expected)


def test_fill() -> None:
    tile = Tile()
    before = np.frombuffer(bytes(tile.memory), np.uint8)
    run(tile, Opcode.FILL, [100], rows=7, row_bytes=33, pitch=50, value=0xA5)
    expected = before.copy()
    for row in range(7):
        expected[100 + 50 * row : 133 + 50 * row] = 0xA5
    np.testing.assert_array_equal(np.frombuffer(tile.memory, np.uint8), expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 150), st.integers(1, 150), st.booleans(), st.integers(0, 20))
def test_pack(inner: int, outer: int, transposed: bool, gap: int) -> None:
    rng, tile = np.random.default_rng(inner), Tile()
    b = rng.integers(-128, 128, (inner, outer)).astype(np.int8)
    given = np.ascontiguousarray(b.T if transposed else b)
    pitch = given.shape[1] + gap
    address = tile.reserve(given.shape[0] * pitch)
    np.ndarray(given.shape, np.int8, tile.memory, address, (pitch, 1))[:] = given
    expected = pack_weights(b.T.reshape(outer, 1, 1, inner))
    output = tile.reserve(expected.size)
    run(tile, Opcode.PACK, [address, output], inner=inner, outer=outer, in_pitch=pitch, transposed=int(transposed))
    np.testing.assert_array_equal(tile.get(output, np.int8, expected.shape, expected.strides), expected)


def vectorised(function: Callable[[float], float]) -> Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]:
    return np.vectorize(function, otypes=[np.float64])


EXACT: dict[UnaryOperation, Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]] = {
    UnaryOperation.EXP: np.exp,
    UnaryOperation.LOG: np.log,
    UnaryOperation.TANH: np.tanh,
    UnaryOperation.SIGMOID: lambda x: 1 / (1 + np.exp(-x)),
    UnaryOperation.ERF: vectorised(math.erf),
    UnaryOperation.RELU: lambda x: np.maximum(x, 0),
    UnaryOperation.SQRT: np.sqrt,
    UnaryOperation.RECIPROCAL: np.reciprocal,
    UnaryOperation.NEGATE: np.negative,
    UnaryOperation.ABS: np.abs,
    UnaryOperation.POWER: lambda x: x**3,
}


@pytest.mark.parametrize("operation", EXACT, ids=lambda operation: operation.name)
def test_unary_is_within_one_unit_of_float64(operation: UnaryOperation) -> None:
    rng, tile = np.random.default_rng(5), Tile()
    spread = np.exp(rng.uniform(-100, 88, 4000)) * rng.choice([-1, 1], 4000)
    special = [0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 88.7, -103.9, 1e-45, 3e38, 0.5, 4.0, -4.0, math.sqrt(2)]
    x = np.concatenate([special, rng.uniform(-12, 12, 6000), rng.uniform(-0.6, 0.6, 2000), spread]).astype(np.float32)
    address, output = tile.put(x), tile.reserve(x.nbytes)
    kinds = {"in_type": ElementType.F32, "out_type": ElementType.F32}
    run(tile, Opcode.UNARY, [address, output], rows=1, channels=len(x), operation=operation, **kinds, alpha=3.0)
    got = tile.get(output, np.float32, x.shape, (4,))
    with np.errstate(all="ignore"):
        expected = EXACT[operation](x.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    finite = ~np.isnan(expected)
    ordered = [np.where(v < 0, -(v & 0x7FFFFFFF), v).astype(np.int64) for v in (got.view(np.int32), expected.view(np.int32))]
    assert np.abs(ordered[0] - ordered[1])[finite].max() <= 1


def test_clip_and_hard_sigmoid() -> None:
    rng, tile = np.random.default_rng(5), Tile()
    x = rng.uniform(-9, 9, (3, 333)).astype(np.float32)
    address, output = tile.put(x), tile.reserve(x.nbytes)
    fields = {
        "rows": 3,
        "channels": 333,
        "in_pitch": 1332,
        "out_pitch": 1332,
        "in_type": ElementType.F32,
        "out_type": ElementType.F32,
    }
    run(tile, Opcode.UNARY, [address, output], **fields, operation=UnaryOperation.CLIP, alpha=-2.5, beta=3.0)
    np.testing.assert_array_equal(tile.get(output, np.float32, x.shape, x.strides), np.clip(x, np.float32(-2.5), np.float32(3)))
    run(tile, Opcode.UNARY, [address, address], **fields, operation=UnaryOperation.HARD_SIGMOID, alpha=0.2, beta=0.5)
    expected = np.clip(np.float32(0.2) * x + np.float32(0.5), np.float32(0), np.float32(1))
    np.testing.assert_array_equal(tile.get(address, np.float32, x.shape, x.strides), expected)


def lanes(values: Floats, combine: Callable[[Floats, Floats], Floats], start: float) -> np.float32:
    """The documented order: 16 interleaved lanes, then lane i with i + 8, 4, 2, 1."""
    total = np.full(16, start, np.float32)
    for index in range(0, len(values), 16):
        block = values[index : index + 16]
        total[: len(block)] = combine(total[: len(block)], block)
    for half in (8, 4, 2, 1):
        total = combine(total[:half], total[half : 2 * half])
    return np.float32(total[0])


@pytest.mark.parametrize("channels", [1, 5, 16, 40, 214, 1000])
@pytest.mark.parametrize("kind", NormaliseKind, ids=lambda kind: kind.name)
def test_normalise(kind: NormaliseKind, channels: int) -> None:
    rng, tile = np.random.default_rng(channels), Tile()
    x = (rng.standard_normal((3, channels)) * 4).astype(np.float32)
    gamma, beta = rng.standard_normal((2, channels)).astype(np.float32)
    params = tile.put(np.concatenate([pad_channels(gamma), pad_channels(beta)]))
    keeps = kind in (NormaliseKind.SOFTMAX, NormaliseKind.LAYER)
    width = channels if keeps else 1
    address, output = tile.put(x), tile.reserve(3 * width * 4)
    kinds = {"in_type": ElementType.F32, "out_type": ElementType.F32, "epsilon": 1e-5}
    pitches = {"in_pitch": 4 * channels, "out_pitch": 4 * width}
    run(tile, Opcode.NORMALISE, [address, params, output], rows=3, channels=channels, **pitches, kind=kind, **kinds)
    got = tile.get(output, np.float32, (3, width), (4 * width, 4))
    exact = x.astype(np.float64)
    if kind is NormaliseKind.SOFTMAX:
        powers = np.exp(exact - exact.max(1, keepdims=True))
        np.testing.assert_allclose(got, powers / powers.sum(1, keepdims=True), rtol=2e-6)
    elif kind is NormaliseKind.LAYER:
        expected = (exact - exact.mean(1, keepdims=True)) / np.sqrt(exact.var(1, keepdims=True) + 1e-5) * gamma + beta
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-5)
    elif kind is NormaliseKind.MAX:
        np.testing.assert_array_equal(got[:, 0], x.max(1))
    else:
        sums = np.array([lanes(row, np.add, 0.0) for row in x])
        np.testing.assert_array_equal(got[:, 0], sums if kind is NormaliseKind.SUM else sums / np.float32(channels))


SHAPES = {
    Opcode.BINARY: {"rows": 2, "channels": 8, "a_pitch": 8, "b_pitch": 8, "out_pitch": 8, "out_scale": 1.0, "clamp_high": 255},
    Opcode.TABLE: {"rows": 2, "row_elements": 8, "in_pitch": 8, "out_pitch": 8},
    Opcode.UNARY: {"rows": 2, "channels": 2, "in_pitch": 8, "out_pitch": 8, "in_type": 4, "out_type": 4},
    Opcode.NORMALISE: {"rows": 2, "channels": 2, "in_pitch": 8, "out_pitch": 8, "in_type": 4, "out_type": 4},
    Opcode.FILL: {"rows": 2, "row_bytes": 8, "pitch": 8},
    Opcode.PACK: {"inner": 8, "outer": 8, "in_pitch": 8},
    Opcode.COPY: {"element_size": 1, "sizes": (1, 1, 2, 8), "in_strides": (0, 0, 8, 1), "out_strides": (0, 0, 8, 1)},
    Opcode.CONVERT: {
        "pixels": 2,
        "channels": 2,
        "in_pixel_pitch": 8,
        "in_channel_pitch": 4,
        "out_pixel_pitch": 8,
        "out_channel_pitch": 4,
    }
    | {"in_type": 4, "out_type": 4},
}
OPERANDS = {Opcode.BINARY: 3, Opcode.TABLE: 3, Opcode.NORMALISE: 3, Opcode.FILL: 1}


@pytest.mark.parametrize(
    ("opcode", "change", "expected"),
    [
        (Opcode.BINARY, {"rows": 0}, Fault.BAD_DESCRIPTOR),
        (Opcode.BINARY, {"operation": 6}, Fault.BAD_DESCRIPTOR),
        (Opcode.BINARY, {"broadcast": 4}, Fault.BAD_DESCRIPTOR),
        (Opcode.BINARY, {"a_type": 2}, Fault.BAD_DESCRIPTOR),
        (Opcode.BINARY, {"a_pitch": 2**32 - 1}, Fault.DATA_BOUNDS),
        (Opcode.BINARY, {"out_pitch": 7}, Fault.OVERLAP),
        (Opcode.BINARY, {"rows": 2**32 - 1, "channels": 2**32 - 1}, Fault.BAD_DESCRIPTOR),
        (Opcode.TABLE, {"out_type": 1}, Fault.BAD_DESCRIPTOR),
        (Opcode.UNARY, {"operation": 13}, Fault.BAD_DESCRIPTOR),
        (Opcode.UNARY, {"operation": 12, "alpha": 0.5}, Fault.BAD_DESCRIPTOR),
        (Opcode.UNARY, {"operation": 12, "alpha": math.nan}, Fault.BAD_DESCRIPTOR),
        (Opcode.UNARY, {"in_pitch": 6}, Fault.MISALIGNED),
        (Opcode.NORMALISE, {"kind": 5}, Fault.BAD_DESCRIPTOR),
        (Opcode.FILL, {"value": 256}, Fault.BAD_DESCRIPTOR),
        (Opcode.FILL, {"rows": 2**32 - 1}, Fault.BAD_DESCRIPTOR),
        (Opcode.FILL, {"pitch": 7}, Fault.OVERLAP),
        (Opcode.PACK, {"transposed": 2}, Fault.BAD_DESCRIPTOR),
        (Opcode.PACK, {"inner": 2**32 - 1, "in_pitch": 0, "outer": 1}, Fault.BAD_DESCRIPTOR),
        (Opcode.COPY, {"element_size": 3}, Fault.BAD_DESCRIPTOR),
        (Opcode.COPY, {"sizes": (2**16, 2**16, 2**16, 2**16)}, Fault.BAD_DESCRIPTOR),
        (Opcode.COPY, {"sizes": (2**9, 2**9, 1, 1), "in_strides": (0,) * 4, "out_strides": (0,) * 4}, Fault.BAD_DESCRIPTOR),
        (Opcode.CONVERT, {"in_type": 0, "out_type": 0}, Fault.BAD_DESCRIPTOR),
        (Opcode.CONVERT, {"fill_channels": 2**32 - 1}, Fault.BAD_DESCRIPTOR),
        (Opcode.CONVERT, {"out_pixel_pitch": 4}, Fault.OVERLAP),
    ],
    ids=str,
)
def test_bad_instructions_fault(opcode: Opcode, change: dict[str, object], expected: Fault) -> None:
    operands = [0, 1024, 4096][: OPERANDS.get(opcode, 2)]
    run(Tile(), opcode, operands, **SHAPES[opcode])
    assert fault(Tile(), opcode, operands, **(SHAPES[opcode] | change)) is expected
    outside = [*operands[:-1], MEMORY - 4]
    assert fault(Tile(), opcode, outside, **SHAPES[opcode]) is Fault.DATA_BOUNDS
