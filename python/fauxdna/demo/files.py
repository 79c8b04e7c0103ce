"""Names file types with magika's model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .models import FILE_TYPE, FILE_TYPE_CONFIG, locate
from .prepare import Feed, Progress, prepare

if TYPE_CHECKING:
    from ..runtime import Npu, Report

SHAPES = {"bytes": (1, 2048)}


@dataclass(frozen=True)
class FileType:
    """A file's most likely type and how sure the model is (0..1)."""

    path: Path
    label: str
    score: float
    report: Report


def features(content: bytes) -> npt.NDArray[np.int32]:
    """Model input int32 [1, 2048]: 1024 bytes from the start and 1024 from the end, stripped of white space, padded by 256."""
    config = _config()
    begin, end, block, padding = (config[key] for key in ("beg_size", "end_size", "block_size", "padding_token"))
    head = content[:block].lstrip()[:begin]
    tail = content[-block:].rstrip()[-end:]
    values = np.full(begin + end, padding, np.int32)
    values[: len(head)] = np.frombuffer(head, np.uint8)
    if tail:
        values[-len(tail) :] = np.frombuffer(tail, np.uint8)
    return values[None]


def _config() -> dict[str, int]:
    config: dict[str, int] = json.loads(locate(FILE_TYPE_CONFIG).read_text())
    return config


def labels() -> list[str]:
    """The model's classes, in order."""
    names: list[str] = json.loads(locate(FILE_TYPE_CONFIG).read_text())["target_labels_space"]
    return names


def sample_files() -> list[Path]:
    """Files that every installation has: this package's own, and numpy's."""
    package = Path(__file__).parent.parent
    numpy_folder = Path(np.__file__).parent
    found = [package / "demo" / "files.py", package / "_core.abi3.so"]
    found += (
        sorted(numpy_folder.rglob("*.npy"))[:1] + sorted(numpy_folder.rglob("*.h"))[:1] + sorted(numpy_folder.rglob("*.csv"))[:1]
    )
    return [path for path in found if path.is_file()]


def calibration_files() -> Iterator[Feed]:
    """A spread of this Python installation's files."""
    package = Path(np.__file__).parent
    for pattern in ("*.py", "*.h", "*.so", "*.pyi", "*.npy", "*.csv", "*.txt", "*.cpp", "*.f90"):
        for path in sorted(package.rglob(pattern))[:6]:
            yield {"bytes": features(path.read_bytes())}


def name_types(npu: Npu, paths: Iterable[Path], *, progress: Progress) -> Iterator[FileType]:
    """The type of each file."""
    program = prepare(locate(FILE_TYPE), calibration_files, SHAPES, strict=False, progress=progress)
    names = labels()
    with npu.context(program) as context:
        for path in paths:
            progress(f"reading {path.name}")
            (scores,) = context.run({"bytes": features(path.read_bytes())}).values()
            best = int(scores[0].argmax())
            yield FileType(path, names[best], float(scores[0, best]), context.report)
