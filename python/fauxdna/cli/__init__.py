"""The ``fauxdna`` command: parse, call, print.

Each command lives in a module of its own and imports what it needs when it runs.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from . import bench, compile, demo, disasm, doctor, exec, firmware, info, quantize, run, serve, smi, vm


class Commands(TyperGroup):
    """Prints errors that have a name before typer sees them: it takes every EPIPE for a reader that has gone, and is silent."""

    def invoke(self, ctx: Any) -> Any:
        """Runs what was asked for; exit status 1 for an error that was named."""
        from ..errors import FauxdnaError

        try:
            return super().invoke(ctx)
        except FauxdnaError as error:
            print(f"fauxdna: {error}", file=sys.stderr)
            raise typer.Exit(1) from None


app = typer.Typer(
    name="fauxdna",
    cls=Commands,
    help="An AMD AIE4 NPU in software: run, test and measure NPU programs without the chip.",
    epilog="Begin with: fauxdna doctor; fauxdna demo ocr. Exit status 0: success; 1: an error that was named; 2: wrong usage.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (run, exec, serve, doctor, compile, quantize, disasm, info, bench, vm):
    module.register(app)
app.add_typer(demo.app, name="demo")
app.add_typer(firmware.app, name="firmware")
app.add_typer(smi.app, name="smi")


def main() -> None:
    """Entry point: exit status 0 on success, 1 for an error that was named, 2 for wrong usage."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names need not be text, and not every terminal has all characters: escaped, as Python does on standard error.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except BrokenPipeError:
        # Whoever read the output has seen enough. What is left goes elsewhere, or Python would complain once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 1)
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"fauxdna: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
