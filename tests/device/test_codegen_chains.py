"""Layers fused into one stage give the bytes that they give one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_codegen import RANGES, U8, Net, conv

from fauxdna.abi.tile_program import BinaryOperation, Broadcast
from fauxdna.compiler import ir
from fauxdna.compiler.codegen import Generated
from fauxdna.compiler.ir import Quantisation, Tensor


def binary(net: Net, name: str, a: Tensor, b: Tensor, broadcast: Broadcast = Broadcast.NONE) -> Tensor:
    """Adds ``a + b``, or ``a * b`` for a broadcast."""
    y = Tensor(name, a.height, a.width, a.channels, U8)
    low, high = RANGES[U8]
    half = Quantisation(0.5, 100)
    operation = BinaryOperation.ADD if broadcast is Broadcast.NONE else BinaryOperation.MULTIPLY
    net.layers.append(
        ir.Binary(
            name,
            (a, b),
            y,
            operation=operation,
            broadcast=broadcast,
            a=half,
            b=half,
            out=Quantisation(0.8, 90),
            clamp_low=low,
            clamp_high=high,
        )
    )
    return y


def table(net: Net, name: str, x: Tensor) -> Tensor:
    """Adds a random look-up table."""
    y = Tensor(name, x.height, x.width, x.channels, U8)
    net.layers.append(ir.Table(name, (x,), y, table=net.rng.integers(0, 256, 256).astype(np.uint8)))
    return y


def alone(generated: Generated) -> set[str]:
    """Layers that have jobs of their own."""
    return {layer.name for layer in generated.layers if layer.jobs}


@pytest.mark.parametrize("columns", [1, 2, 3])
@pytest.mark.parametrize(("height", "width", "channels"), [(40, 40, 48), (7, 9, 13), (1, 1, 20), (61, 3, 96)])
def test_expand_project_add(columns: int, height: int, width: int, channels: int) -> None:
    net = Net(np.random.default_rng(0))
    x = net.source("x", (height, width, channels))
    wide = conv(net, x, 2 * channels, (1, 1), name="expand")
    back = conv(net, wide, channels, (1, 1), name="project")
    net.sink(table(net, "act", binary(net, "add", back, x)))
    assert not alone(net.check(columns)) & {"project", "add", "act"}


@pytest.mark.parametrize("columns", [1, 3])
def test_a_window_at_the_head(columns: int) -> None:
    net = Net(np.random.default_rng(1))
    x = net.source("x", (33, 40, 48))
    y = conv(net, x, 48, (3, 3), strides=(1, 2), pads=(1, 1, 1, 1), groups=48, name="depthwise")
    z = conv(net, conv(net, y, 64, (1, 1), name="expand"), 48, (1, 1), name="project")
    net.sink(binary(net, "add", z, y))
    assert not alone(net.check(columns)) & {"expand", "project", "add"}


def test_an_operand_from_elsewhere_and_a_row() -> None:
    net = Net(np.random.default_rng(2))
    x, other = net.source("x", (20, 24, 32)), net.source("other", (40, 48, 32))
    row = net.source("row", (1, 1, 32))
    up = Tensor("up", 40, 48, 32, U8)
    net.layers.append(ir.Resize("up", (x,), up, factors=(2, 2)))
    y = binary(net, "scale", binary(net, "add", up, other), row, Broadcast.ROW)
    net.sink(conv(net, y, 17, (1, 1), name="last"))
    assert not alone(net.check(3)) & {"add", "scale", "last"}


def test_transposed_convolutions_and_concatenation() -> None:
    net = Net(np.random.default_rng(3))
    x = net.source("x", (21, 24, 24))
    big, both = Tensor("big", 42, 48, 16, U8), Tensor("both", 42, 48, 36, U8)
    weights = net.rng.integers(-128, 128, (24, 16, 2, 2)).astype(np.int8)
    stage = ir.OutputStage(np.array([0.004], np.float32), 128, 0, 255)
    net.layers.append(ir.ConvTranspose("deconv", (x,), big, weights=weights, stage=stage, strides=(2, 2)))
    act = table(net, "act", big)
    for name, offset, channels in (("left", 0, 20), ("right", 20, 16)):
        source = act if offset == 0 else net.source("z", (42, 48, 8))
        made = conv(net, source, channels, (1, 1), name=name)
        layer = net.layers.pop()
        assert isinstance(layer, ir.Conv)
        assert made.channels == channels
        net.layers.append(replace(layer, output=both, channel_offset=offset))
    net.sink(both)
    assert "act" not in alone(net.check(2))


def test_a_result_that_others_read_is_written() -> None:
    net = Net(np.random.default_rng(4))
    x = net.source("x", (16, 16, 16))
    y = conv(net, x, 16, (1, 1), name="first")
    z = conv(net, y, 16, (1, 1), name="second")
    net.sink(z)
    net.sink(y)
    assert {"first", "second"} <= alone(net.check(3))


def grown(net: Net, size: int) -> None:
    """Adds ``size`` random layers, each on any earlier tensor, and makes the last and some others outputs."""
    rng = net.rng
    height, width = int(rng.integers(1, 24)), int(rng.integers(1, 24))
    tensors = [net.source("x", (height, width, int(rng.integers(1, 40))))]
    read: set[str] = set()
    for index in range(size):
        # Mostly the newest, so that chains come about.
        x = tensors[-1] if rng.integers(4) else tensors[rng.integers(len(tensors))]
        name = f"n{index}"
        alike = [t for t in tensors if t.channels == x.channels]
        match int(rng.integers(7)):
            case 0:
                y = conv(net, x, int(rng.integers(1, 60)), (1, 1), name=name)
            case 1:
                y = conv(net, x, int(rng.integers(1, 30)), (3, 3), pads=(1, 1, 1, 1), name=name)
            case 2:
                y = conv(net, x, x.channels, (3, 3), pads=(1, 1, 1, 1), groups=x.channels, name=name)
            case 3:
                y = table(net, name, x)
            case 4 | 5:
                other = alike[rng.integers(len(alike))]
                y = binary(net, name, x, other)
                read.add(other.name)
            case _:
                row = Tensor(f"{name}.row", 1, 1, x.channels, U8)
                stage = ir.OutputStage(np.array([1 / (height * width)], np.float32), 0, 0, 255)
                net.layers.append(ir.Reduce(f"{name}.sum", (x,), row, stage=stage))
                y = binary(net, name, x, row, Broadcast.ROW)
        read.add(x.name)
        tensors.append(y)
    unread = [t for t in tensors if t.name not in read]
    for tensor in unread[:-1]:
        net.sink(tensor)
    net.sink(tensors[-1])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 1 << 30), st.integers(1, 3), st.integers(2, 10))
def test_random_graphs(seed: int, columns: int, size: int) -> None:
    net = Net(np.random.default_rng(seed))
    grown(net, size)
    net.check(columns)
