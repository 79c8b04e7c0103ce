"""``fauxdna doctor``: what this machine offers, and what is missing."""

from __future__ import annotations

import sys

import typer

from ._output import JsonOption, Output


def register(app: typer.Typer) -> None:
    """Adds the command to ``app``."""
    app.command(epilog="Example: fauxdna doctor --json")(doctor)


def doctor(as_json: JsonOption = False) -> None:
    """Check this machine for each way to an NPU; exit status 1 if programs can't be run (exec)."""
    from ..host.doctor import examine

    printer = Output(as_json)
    checks = examine()
    printer.table(
        "This machine",
        ("for", "what", "", "found"),
        [(check.door, check.name, "ok" if check.ok else "missing", check.found) for check in checks],
    )
    for check in checks:
        if not check.ok:
            printer.text(f"{check.name}: {check.remedy}")
    printer.document({"checks": [vars(check) for check in checks]})
    if any(check.required and not check.ok for check in checks):
        sys.exit(1)
