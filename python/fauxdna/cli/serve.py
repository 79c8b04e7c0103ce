"""``fauxdna serve``: a die for many programs, or for VMMs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ._complete import words
from ._output import JsonOption, Output
from .exec import Pace

_EXAMPLE = """
Example: fauxdna serve --vfs 4 --socket npu.sock

It prints a line when it is ready. Then, elsewhere: fauxdna exec --die npu.sock -- xrt-smi examine
"""


def register(app: typer.Typer) -> None:
    """Adds the command to ``app``."""
    app.command(epilog=_EXAMPLE)(serve)


def serve(
    path: Annotated[
        Path | None, typer.Option("--socket", help="Where programs find the die (default: fauxdna.sock in the run directory).")
    ] = None,
    columns: Annotated[int, typer.Option(min=1, max=3, help="Columns of the array.")] = 3,
    vfs: Annotated[int, typer.Option(min=1, max=64, help="Virtual functions; programs beyond their number share them.")] = 4,
    pace: Annotated[Pace, typer.Option(help="As fast as this machine can, or no faster than simulated time.")] = Pace.FAST,
    per_user: Annotated[int, typer.Option(min=1, max=65536, help="Programs that one user may have at the die at a time.")] = 256,
    log: Annotated[Path | None, typer.Option(help="Where device, firmware and driver write their log.", metavar="FILE")] = None,
    vfio_user: Annotated[
        Path | None,
        typer.Option(help="Serve functions to VMMs instead: a socket for one, or a directory for a socket of each."),
    ] = None,
    function: Annotated[
        list[str] | None,
        typer.Option(
            help="With --vfio-user: pf, vf0, vf1 ...; several times for several.",
            metavar="FUNCTION",
            autocompletion=words("pf", "vf0", "vf1", "vf2", "vf3"),
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Own a die and serve it to programs (fauxdna exec --die), or to VMMs such as QEMU, until interrupted."""
    if vfio_user is not None:
        _serve_vmms(Output(as_json), vfio_user, function or [], columns=columns, vfs=vfs, pace=pace.value, log=log)
        return
    if function:
        raise typer.BadParameter("--function goes with --vfio-user")
    from ..host._wire import default_socket
    from ..host.serving import serve as serve_die

    place = str(path or default_socket())

    def ready(functions: list[str]) -> None:
        # One line, flushed: whoever started this may be reading a pipe.
        document = json.dumps({"socket": place, "functions": functions})
        typer.echo(document if as_json else f"ready: {len(functions) - 1} VFs at {place}")

    serve_die(place, columns=columns, vfs=vfs, pace=pace.value, per_user=per_user, log_file=log, ready=ready)


def _serve_vmms(
    printer: Output, path: Path, functions: list[str], *, columns: int, vfs: int, pace: str, log: Path | None
) -> None:
    from ..host.vmm import places
    from ..host.vmm import serve as serve_vmms

    def ready(sockets: dict[str, Path]) -> None:
        printer.text("ready: " + ", ".join(f"{name} at {place}" for name, place in sockets.items()))
        printer.document({"sockets": {name: str(place) for name, place in sockets.items()}})

    serve_vmms(places(path, functions, vfs), columns=columns, vfs=vfs, pace=pace, log_file=log, ready=ready)
