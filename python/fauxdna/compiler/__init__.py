"""ONNX models to programs for the array.

``compile`` is the whole line: import, quantisation where needed, lowering to layers, fusion, segmentation, code. The stages
are modules of their own: ``onnx_import``, ``prepare``, ``quantise``, ``lowering``, ``fusion``, ``segments``, ``codegen``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx import ModelProto

from ..artifact.program import ArrayStep, Program
from . import codegen, ir
from .errors import CompileError, ModelError, PlacementError, QuantisationError
from .front import Front, front
from .quantise import quantise

Progress = Callable[[str, float], None]
"""Called with what is being done and the fraction of the whole that is done."""


def compile(
    model: str | Path | bytes | ModelProto,
    *,
    columns: int = 3,
    strict: bool = False,
    shapes: Mapping[str, Sequence[int]] | None = None,
    calibration: Iterable[Mapping[str, np.ndarray]] | None = None,
    progress: Progress | None = None,
) -> Program:
    """Compile an ONNX model.

    Args:
        model: path, bytes or parsed model: QDQ or QOperator 8-bit, or float32 with ``calibration``.
        columns: columns of the array that each segment uses.
        strict: refuse the model unless all of it runs on the array.
        shapes: input shapes where the model leaves them open.
        calibration: typical inputs, from which a float32 model is quantised first.
        progress: told about each stage.

    Returns:
        The program: array segments and CPU models in execution order, and the placement of every node.

    Raises:
        ModelError: the model is malformed, too large, or its shapes are open.
        QuantisationError: quantisation was needed and failed.
        PlacementError: ``strict``, and some nodes have no place on the array.
    """
    tell = progress or (lambda stage, fraction: None)
    tell("reading the model", 0.0)
    made = front(model, shapes=shapes, calibration=calibration, strict=strict, tell=tell)
    steps = []
    for index, step in enumerate(made.cut.steps):
        tell(f"code for {step.name}", 0.4 + 0.6 * index / len(made.cut.steps))
        steps.append(_array_step(step, columns) if isinstance(step, ir.Segment) else step)
    tell("done", 1.0)
    return Program(
        name=made.name,
        inputs=made.inputs,
        outputs=made.outputs,
        tensors=made.cut.tensors,
        steps=tuple(steps),
        nodes=made.nodes,
        metadata={"columns": str(columns)},
    )


def _array_step(segment: ir.Segment, columns: int) -> ArrayStep:
    try:
        made = codegen.generate(segment, columns=columns)
    except CompileError:
        raise
    except Exception as error:  # a layer with extents that no check of ours foresaw
        raise CompileError(f"{segment.name}: no code for its layers: {type(error).__name__}: {error}") from error
    names = [tuple(t.name for t in tensors) for tensors in (segment.inputs, segment.outputs)]
    return ArrayStep(segment.name, made.elf, names[0], names[1], made.workspace, made.columns, made.layers)


__all__ = ["CompileError", "Front", "ModelError", "PlacementError", "QuantisationError", "compile", "front", "quantise"]
