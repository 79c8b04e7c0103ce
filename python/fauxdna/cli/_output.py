"""What every command prints with: progress and tables for people on a terminal, one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

_NARROWEST = 20
"""Columns below which a terminal's width is no width: pseudo terminals that nobody sized say 0."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


class Output:
    """Prints to standard output what the user asked for, and to standard error what happens meanwhile."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._console = Console(highlight=False)
        if self._console.width < _NARROWEST:
            self._console.width = 80

    @contextmanager
    def progress(self) -> Iterator[Step]:
        """A spinner on standard error, where that is a terminal; calling what it yields names the step under way."""
        console = Console(stderr=True)
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ) as progress:
            yield Step(progress, quiet=not console.is_terminal)

    def text(self, line: str) -> None:
        """One line for people."""
        if not self.as_json:
            self._console.print(line, markup=False, soft_wrap=True)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table for people; columns whose cells are all numbers are aligned to the right."""
        if self.as_json:
            return
        table = Table(title=title, title_justify="left")
        for index, name in enumerate(columns):
            numeric = all(isinstance(row[index], (int, float)) for row in rows)
            table.add_column(name, justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row))
        self._console.print(table)

    def document(self, value: dict[str, Any]) -> None:
        """The JSON document, with --json."""
        if self.as_json:
            print(
                json.dumps(value, indent=2, default=_plain), flush=True
            )  # Who waits for a server's document reads it from a pipe.


class Step:
    """Names the step under way."""

    def __init__(self, progress: Progress, *, quiet: bool) -> None:
        self._progress = progress
        self._quiet = quiet
        self._task = progress.add_task("", total=None)

    def __call__(self, description: str) -> None:
        self._progress.update(self._task, description=description)
        if self._quiet:
            print(description, file=sys.stderr)


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")
