"""``fauxdna serve``: a die for many programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._output import JsonOption, Output
from .exec import Pace


def register(app: typer.Typer) -> None:
    """Adds the command to ``app``."""
    app.command(epilog="Example: fauxdna serve --vfs 4 & fauxdna exec --die $XDG_RUNTIME_DIR/fauxdna.sock -- xrt-smi examine")(
        serve
    )


def serve(
    path: Annotated[
        Path | None, typer.Option("--socket", help="Where programs find the die (default: fauxdna.sock in the run directory).")
    ] = None,
    columns: Annotated[int, typer.Option(min=1, max=3, help="Columns of the array.")] = 3,
    vfs: Annotated[int, typer.Option(min=1, max=64, help="Virtual functions; programs beyond their number share them.")] = 4,
    pace: Annotated[Pace, typer.Option(help="As fast as this machine can, or no faster than simulated time.")] = Pace.FAST,
    log: Annotated[Path | None, typer.Option(help="Where device, firmware and driver write their log.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Own a die and serve it to programs (fauxdna exec --die) until interrupted."""
    from ..host._wire import default_socket
    from ..host.serving import serve as serve_die

    printer = Output(as_json)
    place = str(path or default_socket())

    def ready(functions: list[str]) -> None:
        printer.text(f"ready: {len(functions) - 1} VFs at {place}")
        printer.document({"socket": place, "functions": functions})

    serve_die(place, columns=columns, vfs=vfs, pace=pace.value, log_file=log, ready=ready)
