"""Reads a page: text lines found by the detector on the array, then read by the recogniser on the CPU."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import InvalidInput
from .models import OCR_DETECTION, OCR_RECOGNITION, locate
from .prepare import Feed, Progress, prepare
from .text_boxes import Box, decode, letterbox, normalise

if TYPE_CHECKING:
    from ..runtime import Npu, Report

DETECTOR_SIZE = 640
DETECTOR_SHAPES = {"x": (1, 3, DETECTOR_SIZE, DETECTOR_SIZE)}
LINE_HEIGHT = 48
"""Input height of the recogniser."""

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Line:
    """One line of text and where it stands."""

    box: Box
    text: str


@dataclass(frozen=True)
class Page:
    """What was read, and the report of the detector's run on the array."""

    lines: tuple[Line, ...]
    report: Report


def sample_page() -> Path:
    """The scanned page that comes with scikit-image."""
    import skimage

    return Path(skimage.__file__).parent / "data" / "page.png"


def load_image(path: Path) -> Image:
    """An image file as uint8 [height, width, 3] RGB; ``InvalidInput`` if it is none, damaged, or too large to be a page."""
    from PIL import Image as Pillow

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Pillow.DecompressionBombWarning)
            with Pillow.open(path) as image:
                return np.asarray(image.convert("RGB"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as error:
        raise InvalidInput(f"{path} is no picture that can be read: {error}", "give a PNG or JPEG of a page") from error


def calibration_pictures() -> Iterator[Feed]:
    """Detector inputs that the quantiser looks at: scikit-image's pictures with text, whole, cropped and at other sizes."""
    import skimage

    data = Path(skimage.__file__).parent / "data"
    for name in ("page.png", "text.png", "clock_motion.png", "coffee.png"):
        image = load_image(data / name)
        height, width = image.shape[:2]
        for view in (image, image[: height * 2 // 3, : width * 2 // 3], image[height // 3 :, width // 3 :]):
            yield {"x": normalise(letterbox(view, DETECTOR_SIZE)[0])}


def read_page(npu: Npu, image: Image, *, progress: Progress) -> Page:
    """Finds the text lines of ``image`` on the array and reads each on the CPU, in reading order."""
    program = prepare(
        locate(OCR_DETECTION),
        calibration_pictures,
        DETECTOR_SHAPES,
        strict=True,
        progress=progress,
    )
    canvas, scale = letterbox(image, DETECTOR_SIZE)
    progress("finding text on the array")
    with npu.context(program) as context:
        outputs = context.run({"x": normalise(canvas)})
        report = context.report
    (probability,) = outputs.values()
    boxes = decode(probability[0, 0], scale, image.shape)
    progress(f"reading {len(boxes)} lines on the CPU")
    return Page(tuple(Line(box, text) for box, text in zip(boxes, _recognise(image, boxes), strict=True)), report)


def _recognise(image: Image, boxes: list[Box]) -> Iterator[str]:
    import onnxruntime
    from PIL import Image as Pillow

    session = onnxruntime.InferenceSession(locate(OCR_RECOGNITION), providers=["CPUExecutionProvider"])
    characters = ["", *session.get_modelmeta().custom_metadata_map["character"].split("\n"), " "]
    for box in boxes:
        crop = image[box.top : box.bottom, box.left : box.right]
        width = max(16, round(crop.shape[1] * LINE_HEIGHT / crop.shape[0]))
        line = np.asarray(Pillow.fromarray(crop).resize((width, LINE_HEIGHT), Pillow.Resampling.BILINEAR))
        (scores,) = session.run(None, {session.get_inputs()[0].name: normalise(line)})
        best = scores[0].argmax(-1)
        # Connectionist temporal classification: repeats collapse, class 0 is the blank.
        fresh = (best != 0) & np.concatenate(([True], best[1:] != best[:-1]))
        yield "".join(characters[index] for index in best[fresh]).strip()


def annotate(image: Image, page: Page, path: Path) -> None:
    """Writes ``image`` with the lines' boxes as a PNG, the text beside it."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    height, width = image.shape[:2]
    canvas = Pillow.new("RGB", (width * 2, height), "white")
    canvas.paste(Pillow.fromarray(image))
    draw = ImageDraw.Draw(canvas)
    for line in page.lines:
        box = line.box
        draw.rectangle((box.left, box.top, box.right - 1, box.bottom - 1), outline=(220, 30, 30))
        draw.text((width + 8, (box.top + box.bottom) // 2 - 5), line.text, fill=(0, 0, 0))
    canvas.save(path)
