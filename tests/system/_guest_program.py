"""Programs in C over ``fauxdna.vm``'s own user-space driver (``npu.h``), for sandboxes and guests."""

from __future__ import annotations

import shutil
import subprocess
from importlib.resources import as_file, files
from pathlib import Path

import pytest

_DRIVER = ("npu.c", "program.c", "kernel.c", "image.c", "span.c")


def compiled(source: str, folder: Path) -> Path:
    """``source``, which stands beside this file, statically linked, in ``folder``; skips without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    program = folder / Path(source).stem
    with as_file(files("fauxdna.vm") / "guest") as sources:
        command = [compiler, "-O2", "-Wall", "-Werror", "-static", "-pthread", "-std=gnu11", f"-I{sources}", "-o", str(program)]
        command += [str(Path(__file__).with_name(source)), *(str(sources / name) for name in _DRIVER)]
        subprocess.run(command, check=True, timeout=120)
    return program
