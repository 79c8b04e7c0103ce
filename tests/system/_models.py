"""The demo models, quantised and compiled once for all tests of a session."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from fauxdna.artifact.program import Program
from fauxdna.compiler import compile as compile_model
from fauxdna.compiler import quantise
from fauxdna.demo.catalogue import CATALOGUE, Entry
from fauxdna.errors import NotFound

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Made:
    """A model's float32 and int8 graphs and the program of the latter."""

    entry: Entry
    path: Path
    graph: onnx.ModelProto
    program: Program

    def reference(self, feed: dict[str, Array]) -> list[Array]:
        """The int8 graph in ONNX Runtime."""
        return list(session(self.graph.SerializeToString()).run(None, feed))

    def original(self, feed: dict[str, Array]) -> list[Array]:
        """The float32 model in ONNX Runtime."""
        return list(session(str(self.path)).run(None, feed))

    def feed(self) -> dict[str, Any]:
        """An input: the first that calibrates it."""
        return dict(next(iter(self.entry.calibration())))


_MADE: dict[str, Made] = {}


def session(model: bytes | str) -> onnxruntime.InferenceSession:
    """ONNX Runtime's view of a graph or file."""
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def make(name: str) -> Made:
    """Model ``name`` of the catalogue; skips where its wheel is not installed."""
    if name not in _MADE:
        entry = CATALOGUE[name]
        try:
            path = entry.path()
        except NotFound as missing:
            pytest.skip(str(missing))
        graph = quantise(path, entry.calibration(), dict(entry.shapes))
        _MADE[name] = Made(entry, path, graph, compile_model(graph, strict=entry.strict))
    return _MADE[name]
