"""Generated ELFs on the core, against numpy float64 and integers, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import _array
import _oracle
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fauxdna.abi.tile_program import BinaryOperation, Broadcast, ElementType, NormaliseKind, PoolKind, UnaryOperation
from fauxdna.compiler import codegen, ir
from fauxdna.compiler.errors import CompileError
from fauxdna.compiler.ir import Layout, OutputStage, Quantisation, Tensor

U8, S8, F32, S32 = ElementType.U8, ElementType.S8, ElementType.F32, ElementType.S32
RANGES = {U8: (0, 255), S8: (-128, 127)}
few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
seeds = st.integers(0, 1 << 30)
columns = st.integers(1, 3)


@dataclass
class Net:
    """A segment under construction: planes come in and go out, layers are between."""

    rng: np.random.Generator
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    layers: list[ir.Layer] = field(default_factory=list)

    def source(self, name: str, shape: tuple[int, int, int], kind: ElementType = U8) -> Tensor:
        """An input, already turned into pixels."""
        height, width, channels = shape
        # float32 planes lie at words whatever their size.
        argument = Tensor(f"{name}.in", height, width, channels, F32, Layout.PLANES)
        self.inputs.append(argument)
        tensor = Tensor(name, height, width, channels, kind)
        low, high = RANGES.get(kind, (0, 0))
        self.layers.append(ir.Convert(f"{name}.convert", (argument,), tensor, clamp_low=low, clamp_high=high))
        return tensor

    def sink(self, tensor: Tensor) -> None:
        """Makes a tensor an output."""
        kind = F32 if tensor.type in RANGES else tensor.type
        argument = Tensor(f"{tensor.name}.out", tensor.height, tensor.width, tensor.channels, kind, Layout.PLANES)
        self.outputs.append(argument)
        self.layers.append(ir.Convert(f"{tensor.name}.restore", (tensor,), argument))

    def random(self, tensor: Tensor) -> npt.NDArray[np.generic]:
        """Values for an input: integers of both 8-bit types' ranges and beyond, or halves of them."""
        shape = (tensor.height, tensor.width, tensor.channels)
        return (self.rng.integers(-150, 300, shape) / self.rng.integers(1, 3)).astype(np.float32)

    def check(self, column_count: int) -> codegen.Generated:
        """Compiles, runs, compares."""
        segment = ir.Segment("net", tuple(self.inputs), tuple(self.outputs), tuple(self.layers))
        generated = codegen.generate(segment, columns=column_count)
        values = [self.random(tensor) for tensor in self.inputs]
        data = [_oracle.planes(x, tensor) for x, tensor in zip(values, self.inputs, strict=True)]
        results = _array.execute(generated, data, [_oracle.elements(tensor) for tensor in self.outputs])
        wanted = _oracle.segment(segment, values)
        for tensor, result, expected in zip(self.outputs, results, wanted, strict=True):
            np.testing.assert_array_equal(_oracle.pixels(result, tensor), expected, err_msg=tensor.name)
        return generated


def quantised(rng: np.random.Generator, channels: int, reach: float, kind: ElementType = U8) -> OutputStage:
    """An output stage that maps accumulators of magnitude ``reach`` to most of the range; per channel half of the time."""
    count = channels if rng.integers(2) else 1
    scale = (rng.uniform(0.5, 2, count) * 100 / reach).astype(np.float32)
    low, high = (0, 255) if kind is U8 else (-128, 127)
    table = rng.integers(0, 256, 256).astype(np.uint8) if rng.integers(3) == 0 else None
    return OutputStage(scale, int(rng.integers(low, high + 1)), low, high, table)


def conv(
    net: Net,
    x: Tensor,
    out: int,
    kernel: tuple[int, int],
    *,
    strides: tuple[int, int] = (1, 1),
    dilations: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    groups: int = 1,
    kind: ElementType = U8,
    weight_zero: int = 0,
    name: str = "conv",
) -> Tensor:
    """Adds a convolution with random weights."""
    rng = net.rng
    size = [
        (n + pads[i] + pads[i + 2] - d * (k - 1) - 1) // s + 1
        for i, (n, k, s, d) in enumerate(zip((x.height, x.width), kernel, strides, dilations, strict=True))
    ]
    y = Tensor(name, size[0], size[1], out, kind)
    weights = rng.integers(-128, 128, (out, x.channels // groups, *kernel)).astype(np.int8)
    reach = 3000.0 * (x.channels // groups * kernel[0] * kernel[1]) ** 0.5
    stage = OutputStage() if kind is S32 else quantised(rng, out, reach, kind if kind is not F32 else U8)
    if kind is F32:
        stage = OutputStage(stage.scale)
    bias = rng.integers(-20000, 20000, out).astype(np.int32) if rng.integers(2) else None
    zero = int(rng.integers(0, 256) if x.type is U8 else rng.integers(-128, 128))
    net.layers.append(
        ir.Conv(
            name,
            (x,),
            y,
            weights=weights,
            bias=bias,
            stage=stage,
            in_zero=zero,
            weight_zero=weight_zero,
            groups=groups,
            strides=strides,
            dilations=dilations,
            pads=pads,
        )
    )
    return y


@few
@given(seeds, columns, st.integers(1, 40), st.integers(1, 40), st.integers(1, 70), st.integers(1, 70))
def test_one_by_one_convolution(seed: int, count: int, height: int, width: int, inner: int, out: int) -> None:
    net = Net(np.random.default_rng(seed))
    net.sink(conv(net, net.source("x", (height, width, inner)), out, (1, 1)))
    net.check(count)


kernels = st.tuples(st.integers(1, 5), st.integers(1, 5))
strides = st.tuples(st.integers(1, 3), st.integers(1, 3))


@few
@given(seeds, columns, st.integers(1, 30), st.integers(1, 30), st.integers(1, 40), st.integers(1, 40), kernels, strides)
def test_convolution(
    seed: int, count: int, height: int, width: int, inner: int, out: int, kernel: tuple[int, int], step: tuple[int, int]
) -> None:
    net = Net(np.random.default_rng(seed))
    rng = net.rng
    dilations = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
    top, left, bottom, right = (int(rng.integers(0, kernel[i % 2] * dilations[i % 2])) for i in range(4))
    # At least one output in each direction.
    height, width = (max(n, d * (k - 1) + 1) for n, k, d in zip((height, width), kernel, dilations, strict=True))
    kind = (U8, S8, F32, S32)[rng.integers(4)]
    x = net.source("x", (height, width, inner), (U8, S8)[rng.integers(2)])
    net.sink(conv(net, x, out, kernel, strides=step, dilations=dilations, pads=(top, left, bottom, right), kind=kind))
    net.check(count)


@few
@given(seeds, columns, st.integers(1, 30), st.integers(1, 30), st.integers(2, 120), st.integers(1, 7), strides)
def test_depthwise_convolution(
    seed: int, count: int, height: int, width: int, channels: int, kernel: int, step: tuple[int, int]
) -> None:
    net = Net(np.random.default_rng(seed))
    pad = kernel // 2
    height, width = max(height, kernel), max(width, kernel)
    x = net.source("x", (height, width, channels))
    pads = (pad, pad, pad, pad)
    net.sink(conv(net, x, channels, (kernel, kernel), strides=step, pads=pads, groups=channels))
    net.check(count)


@pytest.mark.parametrize("weight_zero", [0, 3])
def test_grouped_convolution(weight_zero: int) -> None:
    net = Net(np.random.default_rng(5))
    x = net.source("x", (9, 13, 12))
    net.sink(conv(net, x, 18, (3, 3), pads=(1, 1, 1, 1), groups=3, weight_zero=weight_zero))
    net.check(3)


@pytest.mark.parametrize(("height", "width", "inner", "out"), [(1, 1, 1000, 700), (40, 40, 200, 190), (1, 70, 256, 214)])
def test_weights_larger_than_a_core_come_in_passes(height: int, width: int, inner: int, out: int) -> None:
    net = Net(np.random.default_rng(6))
    net.sink(conv(net, net.source("x", (height, width, inner)), out, (1, 1)))
    generated = net.check(3)
    assert generated.layers[1].bytes_in >= inner * out


def test_many_output_blocks_of_a_window() -> None:
    net = Net(np.random.default_rng(7))
    net.sink(conv(net, net.source("x", (40, 40, 96)), 202, (3, 3), pads=(1, 1, 1, 1)))
    net.check(3)


def test_convolution_along_a_row() -> None:
    net = Net(np.random.default_rng(8))
    net.sink(conv(net, net.source("x", (1, 509, 40)), 44, (1, 5), pads=(0, 2, 0, 2)))
    net.check(2)


@few
@given(seeds, columns, st.integers(1, 20), st.integers(1, 20), st.integers(1, 30), st.integers(1, 30), st.integers(1, 3))
def test_transposed_convolution(seed: int, count: int, height: int, width: int, inner: int, out: int, step: int) -> None:
    net = Net(np.random.default_rng(seed))
    rng = net.rng
    x = net.source("x", (height, width, inner))
    # Kernels below, at and above the stride; outputs that are and are not whole blocks of it.
    kernel = int(rng.integers(1, 2 * step + 3))
    pad = int(rng.integers(0, (kernel + 1) // 2))
    more = int(rng.integers(0, step))
    size = [max((n - 1) * step + kernel - 2 * pad + more, 1) for n in (height, width)]
    y = Tensor("y", size[0], size[1], out, U8)
    weights = rng.integers(-128, 128, (inner, out, kernel, kernel)).astype(np.int8)
    net.layers.append(
        ir.ConvTranspose(
            "up",
            (x,),
            y,
            weights=weights,
            bias=rng.integers(-9999, 9999, out).astype(np.int32),
            stage=quantised(rng, out, 3000.0 * (inner * 4) ** 0.5),
            in_zero=int(rng.integers(0, 256)),
            strides=(step, step),
            pads=(pad, pad, pad, pad),
        )
    )
    net.sink(y)
    net.check(count)


@few
@given(
    seeds,
    columns,
    st.integers(3, 40),
    st.integers(3, 40),
    st.integers(1, 70),
    st.integers(1, 3),
    strides,
    st.sampled_from(PoolKind),
)
def test_pooling(
    seed: int, count: int, height: int, width: int, channels: int, kernel: int, step: tuple[int, int], kind: PoolKind
) -> None:
    net = Net(np.random.default_rng(seed))
    rng = net.rng
    top, left, bottom, right = pads = [int(rng.integers(0, (kernel + 1) // 2)) for _ in range(4)]
    x = net.source("x", (height, width, channels), (U8, S8)[rng.integers(2)])
    rows, across = (
        (n + pads[i] + pads[i + 2] - kernel) // s + 1 for i, (n, s) in enumerate(zip((height, width), step, strict=True))
    )
    y = Tensor("y", rows, across, channels, x.type)
    zero = int(rng.integers(0, 100))
    stage = OutputStage() if kind is PoolKind.MAX else quantised(rng, channels, 200.0 * kernel, x.type)
    net.layers.append(
        ir.Pool(
            "pool",
            (x,),
            y,
            kind=kind,
            kernel=(kernel, kernel),
            strides=step,
            pads=(top, left, bottom, right),
            in_zero=zero,
            stage=stage,
        )
    )
    net.sink(y)
    net.check(count)


@few
@given(seeds, columns, st.integers(1, 100), st.integers(1, 100), st.integers(1, 100))
def test_global_sum(seed: int, count: int, height: int, width: int, channels: int) -> None:
    net = Net(np.random.default_rng(seed))
    x = net.source("x", (height, width, channels))
    y = Tensor("y", 1, 1, channels, U8)
    stage = quantised(net.rng, channels, 100.0 * height * width)
    net.layers.append(ir.Reduce("sum", (x,), y, in_zero=int(net.rng.integers(0, 256)), stage=stage))
    net.sink(y)
    net.check(count)


@few
@given(
    seeds,
    columns,
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 50),
    st.sampled_from([Broadcast.NONE, Broadcast.ROW, Broadcast.SCALAR]),
    st.sampled_from([BinaryOperation.ADD, BinaryOperation.SUBTRACT, BinaryOperation.MULTIPLY, BinaryOperation.MAXIMUM]),
)
def test_binary(
    seed: int, count: int, height: int, width: int, channels: int, broadcast: Broadcast, operation: BinaryOperation
) -> None:
    net = Net(np.random.default_rng(seed))
    rng = net.rng
    shape = {Broadcast.NONE: (height, width, channels), Broadcast.ROW: (1, 1, channels), Broadcast.SCALAR: (1, 1, 1)}
    a = net.source("a", (height, width, channels), (U8, S8, F32)[rng.integers(3)])
    b = net.source("b", shape[broadcast], (U8, S8, F32)[rng.integers(3)])
    kind = (U8, S8, F32)[rng.integers(3)]
    y = Tensor("y", height, width, channels, kind)

    def of(tensor: Tensor) -> Quantisation:
        return Quantisation() if tensor.type is F32 else Quantisation(float(np.float32(rng.uniform(0.1, 1))), 7)

    low, high = RANGES.get(kind, (0, 0))
    net.layers.append(
        ir.Binary(
            "op",
            (a, b),
            y,
            operation=operation,
            broadcast=broadcast,
            a=of(a),
            b=of(b),
            out=of(y),
            clamp_low=low,
            clamp_high=high,
        )
    )
    net.sink(y)
    net.check(count)


@few
@given(seeds, columns, st.integers(1, 50), st.integers(1, 50), st.integers(1, 50), st.sampled_from([U8, F32]))
def test_table(seed: int, count: int, height: int, width: int, channels: int, kind: ElementType) -> None:
    net = Net(np.random.default_rng(seed))
    y = Tensor("y", height, width, channels, kind)
    table = net.rng.integers(0, 256, 256).astype(np.uint8 if kind is U8 else np.float32)
    net.layers.append(ir.Table("table", (net.source("x", (height, width, channels)),), y, table=table))
    net.sink(y)
    net.check(count)


@few
@given(seeds, columns, st.integers(1, 20), st.integers(1, 20), st.integers(1, 40), st.integers(1, 4), st.integers(1, 4))
def test_resize(seed: int, count: int, height: int, width: int, channels: int, rows: int, across: int) -> None:
    net = Net(np.random.default_rng(seed))
    y = Tensor("y", height * rows, width * across, channels, U8)
    net.layers.append(ir.Resize("up", (net.source("x", (height, width, channels)),), y, factors=(rows, across)))
    net.sink(y)
    net.check(count)


@pytest.mark.parametrize("count", [1, 3])
def test_concatenation_by_channel_offset(count: int) -> None:
    net = Net(np.random.default_rng(9))
    x = net.source("x", (20, 24, 16))
    both = Tensor("both", 20, 24, 52, U8)
    table = net.rng.integers(0, 256, 256).astype(np.uint8)
    net.layers.append(ir.Table("first", (x,), both, table=table))
    for name, offset, kernel in (("second", 16, 1), ("third", 36, 3)):
        y = conv(net, x, 20 if offset == 16 else 16, (kernel, kernel), pads=(kernel // 2,) * 4, name=name)
        layer = net.layers.pop()
        assert isinstance(layer, ir.Conv)
        assert y.height == 20
        net.layers.append(replace(layer, output=both, channel_offset=offset))
    net.sink(conv(net, both, 30, (3, 3), pads=(1, 1, 1, 1), name="after"))
    net.check(count)


def test_a_layer_that_does_not_fit_is_named() -> None:
    net = Net(np.random.default_rng(1))
    net.sink(conv(net, net.source("x", (20, 20, 512)), 16, (20, 20), name="wide"))
    with pytest.raises(CompileError, match=r"wide.*131072 bytes.*CPU"):
        net.check(1)


@few
@given(seeds, columns, st.integers(1, 30), st.integers(1, 30), st.integers(1, 40), st.sampled_from(["relu", "negate", "abs"]))
def test_unary(seed: int, count: int, height: int, width: int, channels: int, name: str) -> None:
    net = Net(np.random.default_rng(seed))
    y = Tensor("y", height, width, channels, F32)
    operation = UnaryOperation[name.upper()]
    net.layers.append(ir.Unary("function", (net.source("x", (height, width, channels), F32),), y, operation=operation))
    net.sink(y)
    net.check(count)


@few
@given(seeds, columns, st.integers(1, 30), st.integers(1, 30), st.integers(1, 300))
def test_largest_channel_of_each_pixel(seed: int, count: int, height: int, width: int, channels: int) -> None:
    net = Net(np.random.default_rng(seed))
    y = Tensor("y", height, width, 1, F32)
    source = net.source("x", (height, width, channels), F32)
    net.layers.append(ir.Normalise("largest", (source,), y, kind=NormaliseKind.MAX))
    net.sink(y)
    net.check(count)
