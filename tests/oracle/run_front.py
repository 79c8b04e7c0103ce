"""A compiled front end run without the array: segments by ``ir_reference``, CPU steps by ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

from fauxdna.compiler import Front, ir

from .ir_reference import run


def execute(front: Front, feeds: dict[str, Any]) -> list[Any]:
    """The model's outputs for ``feeds``, with the shapes and types that the program declares."""
    values = dict(feeds)
    for step in front.cut.steps:
        if isinstance(step, ir.Segment):
            for name, value in run(step, {tensor.name: values[tensor.name] for tensor in step.inputs}).items():
                info = front.cut.tensors[name]
                values[name] = value.reshape(info.shape) if value.dtype == np.dtype(info.dtype) else value
        else:
            session = onnxruntime.InferenceSession(step.model, providers=["CPUExecutionProvider"])
            found = session.run(list(step.outputs), {name: values[name] for name in step.inputs})
            values.update(zip(step.outputs, found, strict=True))
    return [values[name] for name in front.outputs]


def signal_to_noise(expected: Any, found: Any) -> float:
    """Decibels."""
    noise = ((np.asarray(expected, np.float64) - found) ** 2).sum()
    return float(10 * np.log10((np.asarray(expected, np.float64) ** 2).sum() / max(noise, 1e-30)))
