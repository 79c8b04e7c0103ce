"""Small QDQ models for tests: each operator with its inputs and output quantised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

Parameters = tuple[float, int]
"""Scale and zero point."""


class Builder:
    """Builds one model; ``signed`` makes activations int8."""

    def __init__(self, *, signed: bool = False) -> None:
        self.type: Any = np.int8 if signed else np.uint8
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def input(self, name: str, shape: Sequence[int]) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def output(self, name: str) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))

    def node(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=f"{op}.{output}", **attributes))
        return output

    def pair(self, name: str, parameters: Parameters) -> str:
        """QuantizeLinear and DequantizeLinear of ``name``; returns the name behind them."""
        scale = self.constant(f"{name}_scale", np.float32(parameters[0]))
        zero = self.constant(f"{name}_zero", np.array(parameters[1], self.type))
        self.node("QuantizeLinear", [name, scale, zero], f"{name}_q")
        return self.node("DequantizeLinear", [f"{name}_q", scale, zero], f"{name}_d")

    def weights(self, name: str, steps: Any, scale: Any, axis: int) -> str:
        """A constant behind a DequantizeLinear along ``axis``."""
        stored = self.constant(f"{name}_q", steps)
        scales = self.constant(f"{name}_scale", np.asarray(scale, np.float32))
        zeros = self.constant(f"{name}_zero", np.zeros(np.shape(scale), np.asarray(steps).dtype))
        return self.node("DequantizeLinear", [stored, scales, zeros], f"{name}_d", axis=axis)

    def model(self) -> ModelProto:
        graph = helper.make_graph(self.nodes, "test", self.inputs, self.outputs, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
