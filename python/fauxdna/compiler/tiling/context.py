"""What lowering layers to stages shares: the machine, the constants, and how tensors lie in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ...abi.tile_program import ElementType, OutputFlags, Requantise
from ..ir import ELEMENT_BYTES, Layer, OutputStage, Tensor
from ..patterns import Operand
from ..stage import ALIGNMENT, WEIGHTS, align
from .grid import Machine


def round_up(value: int, multiple: int) -> int:
    """``value`` rounded up."""
    return -(-value // multiple) * multiple


@dataclass
class Context:
    """Collects constants and temporary buffers while stages are made."""

    machine: Machine

    constants: bytearray = field(default_factory=bytearray)

    def constant(self, blocks: list[bytes]) -> Operand:
        """Stores equal-sized blocks, one for each pass, and answers where they lie."""
        self.constants += bytes(-len(self.constants) % ALIGNMENT)
        offset, size = len(self.constants), len(blocks[0])
        for block in blocks:
            self.constants += block
        return Operand(WEIGHTS, offset, size, (), 0, 0, tuple(index * size for index in range(len(blocks))))


def channel_bytes(layer: Layer) -> int:
    """Bytes of one pixel that the layer writes, rounded up to words."""
    return round_up(layer.channels * ELEMENT_BYTES[layer.output.type], 4)


def channel_offset(layer: Layer) -> int:
    """Bytes from a pixel's start to the first channel that the layer writes."""
    return layer.channel_offset * ELEMENT_BYTES[layer.output.type]


def pixels(tensor: Tensor) -> int:
    """Pixels of a tensor."""
    return tensor.height * tensor.width


def byte(value: int) -> int:
    """An 8-bit value's bit pattern."""
    return value & 0xFF


def output_fields(stage: OutputStage, kind: ElementType, bias: npt.NDArray[np.int32] | None) -> dict[str, object]:
    """The output-stage fields of a descriptor."""
    flags = OutputFlags(0)
    if bias is not None:
        flags |= OutputFlags.BIAS
    if stage.scale is not None and stage.scale.size > 1:
        flags |= OutputFlags.PER_CHANNEL
    if stage.table is not None:
        flags |= OutputFlags.TABLE
    return {
        "out_type": int(kind),
        "requantise": int(Requantise.NONE if stage.scale is None else Requantise.SCALE),
        "out_flags": int(flags),
        "out_zero": stage.zero,
        "clamp_low": stage.clamp_low,
        "clamp_high": stage.clamp_high,
    }


def output_parameters(stage: OutputStage, bias: npt.NDArray[np.int32] | None, channels: npt.NDArray[np.intp]) -> bytes:
    """The parameter block of the given channels; a channel index beyond the last gives zeros."""
    lanes = round_up(len(channels), 16)
    block = b""

    def spread(values: npt.NDArray[np.int32] | npt.NDArray[np.float32]) -> bytes:
        out = np.zeros(lanes, dtype=values.dtype)
        inside = channels < values.size
        out[: len(channels)][inside] = values.reshape(-1)[channels[inside]]
        return out.tobytes()

    if bias is not None:
        block += spread(bias.astype(np.int32))
    if stage.scale is not None:
        if stage.scale.size > 1:
            block += spread(stage.scale.astype(np.float32))
        else:
            block += stage.scale.astype(np.float32).reshape(1).tobytes() + bytes(12)
    if stage.table is not None:
        block += stage.table.astype(np.uint8).tobytes()
    return block


def padded(block: bytes) -> bytes:
    """``block`` filled up to the alignment of tile buffers."""
    return block + bytes(align(len(block)) - len(block))
