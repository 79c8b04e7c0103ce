"""``fauxdna exec``: a program that knows nothing of fauxdna, on the NPU."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..host._options import LEVELS, NPUS_MAX, Options
from ._complete import dies, words

_EXAMPLE = """
Examples: fauxdna exec -- xrt-smi examine; fauxdna exec --root trixie -- xrt-smi examine

The program sees /dev/accel/accel0 and what XRT reads in /sys; everything else is as without fauxdna, pid, exit status, signals
and debuggers too. Exit status 125: fauxdna failed; 126: the program can't be executed; 127: it is not there.
"""


class Level(StrEnum):
    """Which UAPI is served."""

    NEXT = LEVELS[0]
    LINUX_7_2 = LEVELS[1]


class Pace(StrEnum):
    """How fast the die runs."""

    FAST = "fast"
    REAL = "real"


def register(app: typer.Typer) -> None:
    """Adds the command to ``app``."""
    app.command(
        name="exec",
        epilog=_EXAMPLE,
        context_settings={"allow_interspersed_args": False},
        options_metavar="[OPTIONS]",
    )(execute)


def execute(
    program: Annotated[list[str], typer.Argument(help="The program and its arguments.", metavar="PROGRAM")],
    npus: Annotated[int, typer.Option(min=1, max=NPUS_MAX, help="NPUs that the program sees.")] = 1,
    functions: Annotated[
        str, typer.Option(help="Nodes of each NPU, in order, such as pf,vf=2.", autocompletion=words("vf", "pf", "pf,vf"))
    ] = "vf",
    uapi: Annotated[Level, typer.Option(help="Linux 7.2's UAPI exactly, or with what XRT 2.25 asks beyond it.")] = Level.NEXT,
    die: Annotated[
        Path | None,
        typer.Option(
            help="Socket of fauxdna serve: share its die instead of starting one.", show_default=False, autocompletion=dies
        ),
    ] = None,
    root: Annotated[
        str | None,
        typer.Option(
            help="A directory with another Linux system, whose programs and libraries are used; 'trixie' is Debian's with XRT, "
            "which is fetched.",
            show_default=False,
        ),
    ] = None,
    pace: Annotated[Pace, typer.Option(help="As fast as this machine can, or no faster than simulated time.")] = Pace.FAST,
    log: Annotated[
        Path | None, typer.Option(help="Where device, firmware and driver write their log.", metavar="FILE", show_default=False)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no warnings before the program starts.")] = False,
) -> None:
    """Run an unmodified program, such as one that uses XRT, on the NPU."""
    from .._root import find_root
    from ..errors import InvalidArgument
    from ..host.launch import launch

    options = Options()
    options.program = program
    options.npus, options.functions, options.uapi, options.pace, options.quiet = npus, functions, uapi, pace, quiet
    options.die, options.log = (None if path is None else str(path) for path in (die, log))
    options.root = root
    try:
        options.check()
    except InvalidArgument as error:
        raise typer.BadParameter(f"{error.problem}; {error.remedy}") from None
    launch(options, find_root)
