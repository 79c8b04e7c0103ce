"""The simulated device's own figures, as a step's cost and its layers."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from fauxdna.abi.control_code import Opcode
from fauxdna.accel import AccelFile
from fauxdna.artifact.program import ArrayStep, LayerInfo

from ._report import LayerReport


def step_cost(cost: Mapping[str, Any]) -> tuple[int, float, int, int]:
    """Simulated ns, energy in uJ, bytes moved and MACs; zeros where the node does not tell."""
    return (
        int(cost.get("simulated_ns", 0)),
        # Whole picojoules: below that, a difference of long sums would depend on the packets before.
        round(cost.get("energy_pj", 0)) / 1e6,
        int(cost.get("bytes", 0)),
        int(cost.get("macs", 0)),
    )


def layers(step: ArrayStep, events: Sequence[tuple[int, str, str]]) -> tuple[LayerReport, ...]:
    """Each layer's time, from the TRACE operation that begins it to the next layer's, or to the last event.

    A column that has no work in a layer runs ahead, so a layer begins with the last column to reach it.
    """
    begins: dict[int, int] = {}
    for time, kind, text in events:
        if kind == "uc":
            name, *operands = text.rpartition(": ")[2].split()
            if name.upper() == Opcode.TRACE.name:
                layer = int(operands[0], 0) if operands else 0
                begins[layer] = max(time, begins.get(layer, 0))
    known: list[tuple[int, LayerInfo]] = []
    for info in step.layers:
        if known and known[-1][1].trace == info.trace:
            # It runs in one pass with the one before.
            begin, before = known[-1]
            known[-1] = (begin, replace(before, name=f"{before.name} + {info.name}", macs=before.macs + info.macs))
        elif info.trace in begins:
            known.append((begins[info.trace], info))
    if not known:
        return ()
    ends = [begin for begin, _ in known[1:]] + [events[-1][0]]
    return tuple(
        LayerReport(info.name, info.kind, end - begin, info.macs) for (begin, info), end in zip(known, ends, strict=True)
    )


class Recorder:
    """A file of simulated events, a line each: simulated ns, kind, text."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._path.write_text("")
        self._lock = threading.Lock()

    def write(self, events: Sequence[tuple[int, str, str]]) -> None:
        """Appends events."""
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.writelines(f"{time:12d} {kind:10} {text}\n" for time, kind, text in events)


@contextmanager
def recording(
    file: AccelFile, hwctx: int, recorder: Recorder | None, *, always: bool = False
) -> Iterator[list[tuple[int, str, str]]]:
    """Records a context's events during the block, also if it fails: they are in the list, and in ``recorder``, after it."""
    events: list[tuple[int, str, str]] = []
    if recorder is None and not always:
        yield events
        return
    file.trace(hwctx, True)
    try:
        yield events
    finally:
        events += file.take_trace(hwctx)
        if recorder is not None:
            recorder.write(events)
