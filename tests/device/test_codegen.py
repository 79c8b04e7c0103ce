"""Generated ELFs on the core, against numpy float64 and integers, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, field

import _array
import _oracle
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fauxdna.abi.tile_program import BinaryOperation, Broadcast, ElementType, PoolKind
from fauxdna.compiler import codegen, ir
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
