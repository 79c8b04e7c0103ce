"""The measurements of ``fauxdna bench``: each is a ratio to a named peer, taken in the same run on the same pinned processor."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ROUNDS = 15
"""Timed rounds of a model; every round runs each contestant once, in turn."""


@contextmanager
def pinned(processors: set[int]) -> Iterator[None]:
    """Runs this process, and every thread started meanwhile, on ``processors`` only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors & before or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def interleaved(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each contestant, run in turn ``rounds`` times after one warm-up each."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for run in contestants.values():
        run()
    for _ in range(rounds):
        for name, run in contestants.items():
            begin = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - begin) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def model(name: str, *, progress: Callable[[str], None], rounds: int = ROUNDS) -> dict[str, Any]:
    """A whole model against ONNX Runtime on one thread: ms, ort_u8s8_ms, ort_s8s8_ms, ratio (ms / ort_u8s8_ms)."""
    import onnxruntime

    from . import open as open_npu
    from .compiler import compile as compile_model
    from .compiler.quantise import quantise
    from .demo.catalogue import CATALOGUE

    entry = CATALOGUE[name]
    feed = dict(next(iter(entry.calibration())))
    quantised = {}
    for signed in (False, True):
        progress(f"quantising {name}, {'s8s8' if signed else 'u8s8'}")
        quantised[signed] = quantise(entry.path(), entry.calibration(), shapes=dict(entry.shapes), signed=signed)
    progress(f"compiling {name}")
    begin = time.perf_counter()
    program = compile_model(quantised[False], strict=entry.strict)
    compile_seconds = time.perf_counter() - begin

    def reference(signed: bool) -> Callable[[], object]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(quantised[signed].SerializeToString(), options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, feed)

    with pinned({0}), open_npu() as npu, npu.context(program) as context:
        progress(f"timing {name}, {rounds} rounds")
        times = interleaved(
            {"ms": lambda: context.run(feed), "ort_u8s8_ms": reference(False), "ort_s8s8_ms": reference(True)}, rounds
        )
        report = context.report.as_dict()
    return {
        "model": name,
        **times,
        "ratio": times["ms"] / times["ort_u8s8_ms"],
        "compile_s": compile_seconds,
        "rounds": rounds,
        "simulated_ms": report["simulated_ns"] / 1e6,
        "energy_uj": report["energy_uj"],
    }


def gemm(seconds: float = 3.0) -> dict[str, Any]:
    """The tile's int8 matrix product, packing included, against a loop of dot products on registers alone."""
    from . import _core

    with pinned({0}):
        return dict(_core.benchmark_gemm(seconds))


def snr_db(reference: npt.NDArray[np.generic], value: npt.NDArray[np.generic]) -> float:
    """Signal-to-noise ratio of ``value`` in dB; infinite when it equals ``reference``."""
    import numpy as np

    signal = reference.astype(np.float64)
    noise = float(np.square(signal - value.astype(np.float64)).sum())
    return float("inf") if noise == 0 else float(10 * np.log10(np.square(signal).sum() / noise))
