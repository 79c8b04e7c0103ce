"""The demo models in one list: where they are, at which shapes they run, and what calibrates them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from . import files, models, ocr, speech
from .prepare import Feed
from .text_boxes import normalise

DIRECTION_SHAPE = (1, 3, 48, 192)


@dataclass(frozen=True)
class Entry:
    """One model."""

    model: models.DemoModel
    shapes: Mapping[str, tuple[int, ...]]
    calibration: Callable[[], Iterable[Feed]]
    strict: bool
    """Whether every node of it runs on the array."""

    def path(self) -> Path:
        """The model's file; ``NotFound`` if it is not installed."""
        return models.locate(self.model)


def _direction_pictures() -> Iterator[Feed]:
    """Text lines of scikit-image's page, upright and upside down."""
    from PIL import Image

    image = ocr.load_image(ocr.sample_page())
    for top in range(8, image.shape[0] - 30, 18):
        for left in (0, 90, 180):
            line = Image.fromarray(image[top : top + 26, left : left + 120]).resize((192, 48))
            pixels = np.asarray(line)
            for view in (pixels, pixels[::-1, ::-1]):
                yield {"x": normalise(np.ascontiguousarray(view))}


CATALOGUE: Mapping[str, Entry] = MappingProxyType(
    {
        "det_small": Entry(models.OCR_DETECTION, ocr.DETECTOR_SHAPES, ocr.calibration_pictures, strict=True),
        "cls_mobile": Entry(models.OCR_DIRECTION, {"x": DIRECTION_SHAPE}, _direction_pictures, strict=True),
        "magika": Entry(models.FILE_TYPE, files.SHAPES, files.calibration_files, strict=False),
        "silero": Entry(models.SPEECH, speech.SHAPES, speech.calibration_speech, strict=False),
    }
)
