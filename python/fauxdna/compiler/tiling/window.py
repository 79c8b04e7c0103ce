"""What convolution and pooling share: input windows, and what of them lies outside the image."""

from __future__ import annotations

from dataclasses import dataclass

from ...abi.tile_program import FILL, Opcode
from ..patterns import Dimension, Operand
from ..tile_code import Region, Step
from .grid import Grid


@dataclass(frozen=True)
class Axis:
    """One axis of a sliding window: input and output sizes, kernel, stride, dilation and padding before."""

    size: int
    out: int
    kernel: int
    stride: int
    dilation: int
    pad: int

    def reach(self, tile: int) -> int:
        """Input elements under ``tile`` outputs."""
        return (tile - 1) * self.stride + (self.kernel - 1) * self.dilation + 1

    def outside(self, tile: int, index: int) -> tuple[int, int]:
        """Elements of tile ``index``'s window before the image's first and after its last."""
        start = index * tile * self.stride - self.pad
        reach = self.reach(tile)
        before = min(max(-start, 0), reach)
        return before, min(max(start + reach - self.size, 0), reach - before)


@dataclass(frozen=True)
class Window:
    """A grid's input windows over an image of ``pitch`` bytes a pixel; a job has ``channels`` bytes of each pixel."""

    y: Axis
    x: Axis
    grid: Grid
    pitch: int
    channels: int

    @property
    def rows(self) -> int:
        """Rows of one window."""
        return self.y.reach(self.grid.height)

    @property
    def columns(self) -> int:
        """Pixels of a window's row."""
        return self.x.reach(self.grid.width)

    @property
    def row_pitch(self) -> int:
        """Bytes between a window's rows in tile memory."""
        return self.columns * self.channels

    def operand(self, buffer: str, passes: tuple[int, ...] = ()) -> Operand:
        """The windows in host memory."""
        row = self.x.size * self.pitch
        return Operand(
            buffer,
            -self.y.pad * row - self.x.pad * self.pitch,
            self.channels,
            (Dimension(self.columns, self.pitch), Dimension(self.rows, row)),
            self.grid.height * self.y.stride * row,
            self.grid.width * self.x.stride * self.pitch,
            passes,
        )

    def fills(self, y: int, x: int, value: int, base: int = 0) -> tuple[Step, ...]:
        """Instructions that give what lies outside the image the byte ``value``; the window is ``base`` bytes into the input."""
        above, below = self.y.outside(self.grid.height, y)
        left, right = self.x.outside(self.grid.width, x)
        inside = self.rows - above - below
        areas = [
            (0, 1, above * self.row_pitch, self.row_pitch),
            ((self.rows - below) * self.row_pitch, 1, below * self.row_pitch, self.row_pitch),
            (above * self.row_pitch, inside, left * self.channels, self.row_pitch),
            (above * self.row_pitch + (self.columns - right) * self.channels, inside, right * self.channels, self.row_pitch),
        ]
        return tuple(
            Step(
                Opcode.FILL,
                FILL.pack(rows=rows, row_bytes=size, pitch=pitch, value=value),
                ((Region.INPUT, base + offset),),
            )
            for offset, rows, size, pitch in areas
            if rows and size
        )


def store(
    buffer: str,
    grid: Grid,
    width: int,
    pitch: int,
    offset: int,
    channels: int,
    passes: tuple[int, ...] = (),
) -> Operand:
    """Output tiles in an image of ``width`` pixels of ``pitch`` bytes; a job writes ``channels`` bytes of each pixel."""
    row = width * pitch
    return Operand(
        buffer,
        offset,
        channels,
        (Dimension(grid.width, pitch), Dimension(grid.height, row)),
        grid.height * row,
        grid.width * pitch,
        passes,
    )
