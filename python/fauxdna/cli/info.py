"""``fauxdna info``: what the device says of itself."""

from __future__ import annotations

from typing import Annotated

import typer

from ._complete import devices
from ._output import JsonOption, Output


def register(app: typer.Typer) -> None:
    """Adds the command to ``app``."""
    app.command(epilog="Example: fauxdna info --json")(info)


def info(
    device: Annotated[
        str | None,
        typer.Option(help="A real node, such as /dev/accel/accel0, instead of the virtual device.", autocompletion=devices),
    ] = None,
    log: Annotated[bool, typer.Option(help="Print the log of device, firmware and driver afterwards.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Start the device and show what it says of itself."""
    from .. import __version__
    from .. import open as open_npu

    printer = Output(as_json)
    with open_npu(device) as npu:
        facts = {"fauxdna": __version__, **npu.info()}
        lines = npu.log_lines()
    printer.table("NPU", ("property", "value"), list(facts.items()))
    if log:
        for line in lines:
            printer.text(line)
    printer.document(facts)
