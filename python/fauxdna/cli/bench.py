"""``fauxdna bench``: the measurements in README.md, each against its named peer in the same run."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from ._output import JsonOption, Output

_SAMPLES_MOST = 10_000_000
"""Each is kept, in 8 bytes."""
_EXAMPLE = "Example: fauxdna bench model det_small --json"


class Benchmark(StrEnum):
    """What can be measured."""

    DOORBELL = "doorbell"
    EXEC = "exec"
    GEMM = "gemm"
    GUEST = "guest"
    MODEL = "model"


class Model(StrEnum):
    """Models that can be measured."""

    DET_SMALL = "det_small"
    CLS_MOBILE = "cls_mobile"
    MAGIKA = "magika"
    SILERO = "silero"


def register(app: typer.Typer) -> None:
    """Adds the command to ``app``."""
    app.command(epilog=_EXAMPLE)(bench)


def bench(
    what: Annotated[
        Benchmark,
        typer.Argument(
            help="doorbell: command latency; exec: unmodified programs; gemm: int8 arithmetic; guest: stock Linux in QEMU; "
            "model: a whole model."
        ),
    ],
    model: Annotated[Model, typer.Argument(help="For 'model': which one.")] = Model.DET_SMALL,
    samples: Annotated[int, typer.Option(min=10, max=_SAMPLES_MOST, help="For 'doorbell': commands to time.")] = 100_000,
    as_json: JsonOption = False,
) -> None:
    """Measure the device."""
    from .. import benchmark
    from ..demo.models import extra

    printer = Output(as_json)
    with printer.progress() as step:
        step(f"measuring {what.value}")
        match what:
            case Benchmark.DOORBELL:
                figures = benchmark.doorbell(samples)
            case Benchmark.EXEC:
                figures = {name: value for name, value in benchmark.execution().items() if value is not None}
            case Benchmark.GEMM:
                figures = benchmark.gemm()
            case Benchmark.GUEST:
                figures = benchmark.guest(progress=step)
            case Benchmark.MODEL:
                with extra():
                    figures = benchmark.model(model.value, progress=step)
    printer.table(what.value, ("figure", "value"), list(figures.items()))
    printer.document(figures)
