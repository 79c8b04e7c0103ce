"""CPU steps, by ONNX Runtime. Imported only by programs that have one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import onnxruntime as ort

from fauxdna.artifact.program import CpuStep
from fauxdna.errors import InvalidArgument

THREADS = 1
"""Threads inside an operator: the figures that we compare with are for one."""


class CpuSession:
    """An ONNX Runtime session for one step."""

    def __init__(self, step: CpuStep, threads: int = THREADS) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(step.model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise InvalidArgument(
                f"ONNX Runtime does not load CPU step {step.name}: {error}", "compile the model again"
            ) from error
        self._name = step.name
        self._outputs = list(step.outputs)

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """The step's outputs in order; :class:`InvalidArgument` if ONNX Runtime fails on these inputs."""
        try:
            return list(self._session.run(self._outputs, dict(inputs)))
        except Exception as error:
            raise InvalidArgument(f"CPU step {self._name} failed: {error}", "check the inputs against the model") from error
