"""Quantises and compiles a demo model once, and keeps the result in the user's cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..cache import cache_folder

if TYPE_CHECKING:
    from ..artifact.program import Program

Feed = Mapping[str, npt.NDArray[np.generic]]
Progress = Callable[[str], None]


def prepare(
    model: Path,
    calibration: Callable[[], Iterable[Feed]],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    strict: bool,
    progress: Progress,
) -> Program:
    """The compiled program of ``model`` for the given input ``shapes``.

    A program compiled before by this version of the compiler, from the same model bytes, is taken from the cache.
    ``calibration`` is only called, and the model only quantised, when there is none.
    """
    from .. import __version__
    from ..artifact.program import Program

    key = hashlib.sha256(model.read_bytes())
    key.update(repr((__version__, compiler_digest(), sorted(shapes.items()), strict)).encode())
    path = cache_folder() / "programs" / f"{model.stem}-{key.hexdigest()[:16]}.program"
    if path.exists():
        return Program.load(path)

    from ..compiler import compile as compile_model
    from ..compiler.quantise import quantise

    progress(f"quantising {model.name}")
    quantised = quantise(model, calibration(), shapes=dict(shapes))
    progress(f"compiling {model.name}")
    program = compile_model(quantised, strict=strict)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written under another name first: nobody ever meets half a program.
    part = path.with_suffix(f".{os.getpid()}.part")
    program.save(part)
    part.replace(path)
    return program


def compiler_digest() -> str:
    """Digest of the compiler's own sources, so that a changed compiler never meets an old program."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for room in ("abi", "artifact", "compiler"):
        for source in sorted((root / room).rglob("*.py")):
            digest.update(source.read_bytes())
    return digest.hexdigest()
