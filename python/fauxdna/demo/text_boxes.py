"""From a text-probability map to boxes, and from boxes to line images (the DB detector's decoder, axis-aligned)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

THRESHOLD = 0.3
BOX_THRESHOLD = 0.5
UNCLIP_RATIO = 1.6
MINIMUM_SIDE = 3
"""PP-OCR's own detection settings (rapidocr config.yaml)."""


@dataclass(frozen=True, order=True)
class Box:
    """A text line in pixels of the original image; right and bottom are exclusive."""

    top: int
    left: int
    bottom: int
    right: int
    score: float


def letterbox(image: npt.NDArray[np.uint8], size: int) -> tuple[npt.NDArray[np.uint8], float]:
    """``image`` [height, width, 3] scaled to fit ``size`` x ``size``, padded at right and bottom; and the scale used."""
    from PIL import Image

    height, width = image.shape[:2]
    scale = min(size / height, size / width)
    scaled = Image.fromarray(image).resize(
        (max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BILINEAR
    )
    canvas = np.full((size, size, 3), 255, np.uint8)
    canvas[: scaled.height, : scaled.width] = np.asarray(scaled)
    return canvas, scale


def normalise(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """uint8 [height, width, 3] RGB to float32 [1, 3, height, width] in -1..1, channels as BGR: the PP-OCR models' input."""
    values = (image[:, :, ::-1].astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def decode(probability: npt.NDArray[np.float32], scale: float, image_shape: tuple[int, ...]) -> list[Box]:
    """Boxes of connected regions of ``probability`` [height, width], grown by the unclip ratio, in reading order."""
    labels, _ = ndimage.label(probability > THRESHOLD)
    boxes = []
    for index, region in enumerate(ndimage.find_objects(labels), start=1):
        rows, columns = region
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if min(height, width) < MINIMUM_SIDE:
            continue
        score = float(probability[region][labels[region] == index].mean())
        if score < BOX_THRESHOLD:
            continue
        grow = height * width * UNCLIP_RATIO / (2 * (height + width))
        boxes.append(
            Box(
                top=max(0, int((rows.start - grow) / scale)),
                left=max(0, int((columns.start - grow) / scale)),
                bottom=min(image_shape[0], int(np.ceil((rows.stop + grow) / scale))),
                right=min(image_shape[1], int(np.ceil((columns.stop + grow) / scale))),
                score=score,
            )
        )
    return _reading_order([box for box in boxes if box.bottom > box.top and box.right > box.left])


def _reading_order(boxes: list[Box]) -> list[Box]:
    lines: list[list[Box]] = []
    for box in sorted(boxes, key=lambda box: (box.top + box.bottom) / 2):
        middle = (box.top + box.bottom) / 2
        if lines and lines[-1][0].top <= middle < lines[-1][0].bottom:
            lines[-1].append(box)
        else:
            lines.append([box])
    return [box for line in lines for box in sorted(line, key=lambda box: box.left)]


def intersection_over_union(a: Box, b: Box) -> float:
    """Overlap of two boxes, 0..1."""
    height = min(a.bottom, b.bottom) - max(a.top, b.top)
    width = min(a.right, b.right) - max(a.left, b.left)
    shared = max(0, height) * max(0, width)
    area = (a.bottom - a.top) * (a.right - a.left) + (b.bottom - b.top) * (b.right - b.left)
    return shared / (area - shared) if area > shared else 0.0
