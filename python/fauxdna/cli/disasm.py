"""``fauxdna disasm``: the control code and tile programs of an ELF as text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._output import JsonOption, Output


def register(app: typer.Typer) -> None:
    """Adds the command to ``app``."""
    app.command(epilog="Example: fauxdna disasm model.program | less")(disasm)


def disasm(
    file: Annotated[Path, typer.Argument(help="An AIE4 ELF or a compiled program.", exists=True)],
    as_json: JsonOption = False,
) -> None:
    """Show control code and tile programs."""
    from ..artifact.elf import ElfError
    from ..artifact.program import ArrayStep, Program, is_program
    from ..compiler.disassemble import disassemble

    printer = Output(as_json)
    if is_program(file):
        elfs = {step.name: step.elf for step in Program.load(file).steps if isinstance(step, ArrayStep)}
    else:
        elfs = {file.name: file.read_bytes()}
    try:
        listing = {name: list(disassemble(elf)) for name, elf in elfs.items()}
    except ElfError as error:
        raise ElfError(f"{file}: {error.problem}", error.remedy) from error
    for name, lines in listing.items():
        printer.text(f"; {name}")
        for line in lines:
            printer.text(line)
    printer.document(listing)
