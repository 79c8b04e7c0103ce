"""``fauxdna compile``: an ONNX model to a program of AIE4 ELFs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from ._output import JsonOption, Output


def register(app: typer.Typer) -> None:
    """Adds the command to ``app``."""
    app.command(epilog="Example: fauxdna compile model.int8.onnx --output model.program")(compile)


def compile(
    model: Annotated[Path, typer.Argument(help="A quantised ONNX model (see fauxdna quantize).", exists=True, dir_okay=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the program goes (default: MODEL.program).")
    ] = None,
    columns: Annotated[int, typer.Option(min=1, max=3, help="Columns of the array to use.")] = 3,
    strict: Annotated[bool, typer.Option(help="Refuse to leave any operator to the CPU.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compile a model for the array."""
    from ..artifact.program import ArrayStep
    from ..compiler import compile as compile_model

    printer = Output(as_json)
    target = output or model.with_suffix(".program")
    with printer.progress() as step:
        step(f"compiling {model.name}")
        program = compile_model(model, columns=columns, strict=strict)
        program.save(target)
    places = Counter(node.place for node in program.nodes)
    steps = [
        (part.name, "array", len(part.elf)) if isinstance(part, ArrayStep) else (part.name, "cpu", len(part.model))
        for part in program.steps
    ]
    printer.table(f"{target}", ("step", "place", "bytes"), steps)
    printer.text(", ".join(f"{count} nodes {place}" for place, count in sorted(places.items())))
    printer.document(
        {
            "program": target,
            "steps": [{"name": name, "place": place, "bytes": size} for name, place, size in steps],
            "nodes": [{"name": node.name, "op": node.op, "place": node.place, "why": node.why} for node in program.nodes],
        }
    )
