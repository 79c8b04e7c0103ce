"""Programs for the guest, compiled from C with the machine's own compiler, once for each version of their source."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from fauxdna.cache import cache_folder, made_once
from fauxdna.errors import NotFound

PROBE: Final = "fauxdna-probe"
MODEL_FOLDER: Final = "/usr/share/fauxdna/model"
"""Where the probe looks for a small model: ``model.elf``, ``input``, ``output`` and ``workspace`` (its size)."""
_SOURCES: Final = ("probe.c", "refusals.c", "npu.c", "program.c", "kernel.c", "image.c", "span.c")
_HEADERS: Final = ("abi.h", "npu.h", "kernel.h", "image.h", "span.h")
_FLAGS: Final = ("-O2", "-static", "-pthread", "-std=gnu11")


_DIGEST: Final = "sha256"
"""The file beside a program that tells a damaged one."""


def probe() -> bytes:
    """``fauxdna-probe``, statically linked. One that is damaged in the cache is compiled anew."""
    folder = files(__package__) / "guest"
    digest = hashlib.sha256(repr(_FLAGS).encode())
    for name in (*_SOURCES, *_HEADERS):
        digest.update((folder / name).read_bytes())

    def compile_(part: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise NotFound("the guest's probe is compiled here, and there is no C compiler", "install gcc and libc6-dev")
        with as_file(folder) as sources:
            command = [compiler, *_FLAGS, "-o", str(part / PROBE), *(str(sources / name) for name in _SOURCES)]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise NotFound(
                f"the guest's probe can't be compiled:\n{result.stderr.strip()}\n", "install gcc and libc6-dev (with libc.a)"
            )
        (part / _DIGEST).write_text(hashlib.sha256((part / PROBE).read_bytes()).hexdigest())

    return (made_once(cache_folder() / "vm" / f"probe-{digest.hexdigest()[:16]}", compile_, intact=_intact) / PROBE).read_bytes()


def _intact(folder: Path) -> bool:
    """Whether the probe is as the compiler made it."""
    try:
        return (folder / _DIGEST).read_bytes() == hashlib.sha256((folder / PROBE).read_bytes()).hexdigest().encode()
    except OSError:
        return False
