"""Measures a whole model against ONNX Runtime, both on one pinned processor, in turn."""

from __future__ import annotations

import logging
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..demo.catalogue import Entry

SAMPLES = 4
"""Calibration inputs for ONNX Runtime's quantiser: its scales don't change its speed."""
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
    """A whole model of the catalogue against ONNX Runtime with one thread.

    ONNX Runtime runs two graphs: the very graph that the array runs, and the one its own static quantiser makes of convolutions
    and matrix products alone; the faster one counts, for unsigned (u8s8) and signed (s8s8) activations.

    Returns:
        ``ms``, ``ort_u8s8_ms``, ``ort_s8s8_ms``, ``ratio`` (``ms / ort_u8s8_ms``), what each graph took, ``snr_db`` against the
        same graph in ONNX Runtime, ``compile_s``, ``simulated_ms``, ``energy_uj`` and ``rounds``.
    """
    from .. import open as open_npu
    from ..compiler import compile as compile_model
    from ..compiler import quantise
    from ..demo.catalogue import CATALOGUE

    entry = CATALOGUE[name]
    feed = dict(next(iter(entry.calibration())))
    graphs = {}
    for signed in (False, True):
        kind = "s8s8" if signed else "u8s8"
        progress(f"quantising {name}, {kind}")
        graphs[f"ort_{kind}_same_graph_ms"] = quantise(
            entry.path(), entry.calibration(), shapes=dict(entry.shapes), signed=signed
        ).SerializeToString()
        graphs[f"ort_{kind}_own_quantiser_ms"] = _by_onnxruntime(entry, signed)
    progress(f"compiling {name}")
    begin = time.perf_counter()
    program = compile_model(graphs["ort_u8s8_same_graph_ms"], strict=entry.strict)
    compile_seconds = time.perf_counter() - begin

    with pinned({0}), open_npu(cpu=0) as npu, npu.context(program) as context:
        references = {key: _session(graph) for key, graph in graphs.items()}
        progress(f"timing {name}, {rounds} rounds")
        contestants: dict[str, Callable[[], object]] = {"ms": lambda: context.run(feed)}
        contestants |= {key: partial(session.run, None, feed) for key, session in references.items()}
        times = interleaved(contestants, rounds)
        results = context.run(feed)
        report = context.report
        expected = dict(zip(program.outputs, references["ort_u8s8_same_graph_ms"].run(None, feed), strict=True))
    best = {
        f"ort_{kind}_ms": min(times[f"ort_{kind}_same_graph_ms"], times[f"ort_{kind}_own_quantiser_ms"])
        for kind in ("u8s8", "s8s8")
    }
    return {
        "model": name,
        "ratio": times["ms"] / best["ort_u8s8_ms"],
        **best,
        **times,
        "snr_db": min(snr_db(expected[key], value) for key, value in results.items()),
        "compile_s": compile_seconds,
        "simulated_ms": report.simulated_ns / 1e6,
        "energy_uj": report.energy_uj,
        "rounds": rounds,
    }


def _session(graph: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _by_onnxruntime(entry: Entry, signed: bool) -> bytes:
    """The model as ONNX Runtime's own static quantiser makes it, of convolutions and matrix products only."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Samples(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._feeds = iter(list(entry.calibration())[:SAMPLES])

        def get_next(self) -> Any:
            return next(self._feeds, None)

    with TemporaryDirectory() as folder:
        target = Path(folder) / "model.onnx"
        # It advises everyone, on the root logger, to prepare the model first; for speed that makes no difference.
        logging.disable(logging.WARNING)
        try:
            quantize_static(
                entry.path(),
                target,
                Samples(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "ConvTranspose", "MatMul"],
                activation_type=QuantType.QInt8 if signed else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        finally:
            logging.disable(logging.NOTSET)
        return target.read_bytes()


def snr_db(reference: npt.NDArray[np.generic], value: npt.NDArray[np.generic]) -> float:
    """Signal-to-noise ratio of ``value`` in dB; infinite when it equals ``reference``."""
    import numpy as np

    signal = reference.astype(np.float64)
    noise = float(np.square(signal - value.astype(np.float64)).sum())
    return float("inf") if noise == 0 else float(10 * np.log10(np.square(signal).sum() / noise))
