"""The compiler's middle form: tensors as the array stores them, and layers, each one pass over the array.

The front end (import, quantisation, fusion) makes it; the back end (tiling, tile programs, control code) reads it. A layer says
what is computed, never where or in which pieces.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import numpy.typing as npt

from ..abi.tile_program import BinaryOperation, Broadcast, ElementType, NormaliseKind, PoolKind, UnaryOperation

ELEMENT_BYTES = {
    ElementType.U8: 1,
    ElementType.S8: 1,
    ElementType.S16: 2,
    ElementType.S32: 4,
    ElementType.F32: 4,
    ElementType.BF16: 2,
}


class Layout(Enum):
    """How a tensor lies in memory."""

    PIXELS = "pixels"
    """[height][width][channels], a pixel taking ``pixel_pitch`` bytes (channels rounded up to 4 bytes)."""
    PLANES = "planes"
    """[channels][height][width], dense: ONNX's own order, used for model inputs and outputs."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of the array program: batch 1, ``height x width x channels`` (a matrix of M rows by K has height M, width 1).

    Tensors of one name are one memory: a reader may see the bytes that another layer wrote under other extents (a flattened
    image, four pixels of 64 channels as one of 256), as long as ``size`` is the same and no padding lies between pixels.
    """

    name: str
    height: int
    width: int
    channels: int
    type: ElementType
    layout: Layout = Layout.PIXELS

    @property
    def pixel_pitch(self) -> int:
        """Bytes from one pixel to the next (PIXELS), a multiple of 4."""
        return (self.channels * ELEMENT_BYTES[self.type] + 3) // 4 * 4

    @property
    def size(self) -> int:
        """Bytes of the tensor, rounded up to 4."""
        if self.layout is Layout.PIXELS:
            return self.height * self.width * self.pixel_pitch
        return (self.height * self.width * self.channels * ELEMENT_BYTES[self.type] + 3) // 4 * 4


@dataclass(frozen=True)
class OutputStage:
    """From int32 accumulator to output element; see abi.tile_program.Requantise. ``scale`` is None for a plain S32 result."""

    scale: npt.NDArray[np.float32] | None = None
    """float32, one element or one per channel."""
    zero: int = 0
    clamp_low: int = -128
    clamp_high: int = 127
    table: npt.NDArray[np.uint8] | None = None
    """256 bytes applied to the 8-bit result, or None."""


@dataclass(frozen=True)
class Layer:
    """One pass over the array. ``nodes`` names the ONNX nodes it stands for (for the report); ``output`` is written by it alone,
    except that several layers may write disjoint channel ranges of one tensor (a concatenation).
    """

    name: str
    inputs: tuple[Tensor, ...]
    output: Tensor
    nodes: tuple[str, ...] = field(default=(), kw_only=True)
    channel_offset: int = field(default=0, kw_only=True)
    """First channel of ``output`` this layer writes (a multiple of 4 bytes); its own channel count is ``channels``."""

    @property
    def channels(self) -> int:
        """Channels this layer writes."""
        return self.output.channels - self.channel_offset


@dataclass(frozen=True)
class Conv(Layer):
    """Convolution or matrix product with constant 8-bit weights, groups > 1 included; depthwise when groups == channels."""

    weights: npt.NDArray[np.int8] = field(kw_only=True)
    """int8 [out_channels][in_channels / groups][kernel_height][kernel_width]."""
    bias: npt.NDArray[np.int32] | None = field(default=None, kw_only=True)
    """int32 [out_channels], as ONNX has it: zero points are not folded in."""
    stage: OutputStage = field(kw_only=True)
    in_zero: int = field(default=0, kw_only=True)
    weight_zero: int = field(default=0, kw_only=True)
    groups: int = field(default=1, kw_only=True)
    strides: tuple[int, int] = field(default=(1, 1), kw_only=True)
    dilations: tuple[int, int] = field(default=(1, 1), kw_only=True)
    pads: tuple[int, int, int, int] = field(default=(0, 0, 0, 0), kw_only=True)
    """top, left, bottom, right; padding has the value ``in_zero``."""

    @property
    def channels(self) -> int:
        """Channels this layer writes."""
        return int(self.weights.shape[0])


@dataclass(frozen=True)
class ConvTranspose(Layer):
    """Transposed convolution, groups 1; weights int8 [in_channels][out_channels][kernel_height][kernel_width]."""

    weights: npt.NDArray[np.int8] = field(kw_only=True)
    bias: npt.NDArray[np.int32] | None = field(default=None, kw_only=True)
    stage: OutputStage = field(kw_only=True)
    in_zero: int = field(default=0, kw_only=True)
    strides: tuple[int, int] = field(kw_only=True)
    pads: tuple[int, int, int, int] = field(default=(0, 0, 0, 0), kw_only=True)

    @property
    def channels(self) -> int:
        """Channels this layer writes."""
        return int(self.weights.shape[1])


@dataclass(frozen=True)
class Pool(Layer):
    """Max pooling, or average pooling as a sum with an output stage (all taps counted alike: no padding, or include_pad)."""

    kind: PoolKind = field(kw_only=True)
    kernel: tuple[int, int] = field(kw_only=True)
    strides: tuple[int, int] = field(kw_only=True)
    pads: tuple[int, int, int, int] = field(default=(0, 0, 0, 0), kw_only=True)
    in_zero: int = field(default=0, kw_only=True)
    stage: OutputStage = field(default_factory=OutputStage, kw_only=True)

    @property
    def channels(self) -> int:
        """Channels this layer writes."""
        return self.inputs[0].channels


@dataclass(frozen=True)
class Reduce(Layer):
    """Sum over all pixels per channel through an output stage: global average pooling and ReduceMean over H, W."""

    in_zero: int = field(default=0, kw_only=True)
    stage: OutputStage = field(kw_only=True)


@dataclass(frozen=True)
class Quantisation:
    """Scale and zero point of an 8-bit operand; scale 1, zero 0 for float32."""

    scale: float = 1.0
    zero: int = 0


@dataclass(frozen=True)
class Binary(Layer):
    """``inputs[0] op inputs[1]`` element by element; ROW broadcasts a 1 x 1 x C tensor, SCALAR a single element."""

    operation: BinaryOperation = field(kw_only=True)
    broadcast: Broadcast = field(default=Broadcast.NONE, kw_only=True)
    a: Quantisation = field(default_factory=Quantisation, kw_only=True)
    b: Quantisation = field(default_factory=Quantisation, kw_only=True)
    out: Quantisation = field(default_factory=Quantisation, kw_only=True)
    clamp_low: int = field(default=0, kw_only=True)
    clamp_high: int = field(default=255, kw_only=True)

    @property
    def channels(self) -> int:
        """Channels this layer writes."""
        return self.inputs[0].channels


@dataclass(frozen=True)
class Table(Layer):
    """8-bit element -> table[element]: any chain of one-operand functions between 8-bit tensors; also requantisation and copies.

    ``table`` has 256 uint8 (the output's bit pattern) or 256 float32 (for an F32 output).
    """

    table: npt.NDArray[np.uint8] | npt.NDArray[np.float32] = field(kw_only=True)

    @property
    def channels(self) -> int:
        """Channels this layer writes."""
        return self.inputs[0].channels


@dataclass(frozen=True)
class Convert(Layer):
    """Quantise, dequantise, cast, and change layout between PLANES and PIXELS, in one."""

    quantisation: Quantisation = field(default_factory=Quantisation, kw_only=True)
    clamp_low: int = field(default=0, kw_only=True)
    clamp_high: int = field(default=255, kw_only=True)


@dataclass(frozen=True)
class Resize(Layer):
    """Nearest-neighbour enlargement by whole factors (height, width)."""

    factors: tuple[int, int] = field(kw_only=True)

    @property
    def channels(self) -> int:
        """Channels this layer writes."""
        return self.inputs[0].channels


@dataclass(frozen=True)
class Unary(Layer):
    """A float32 function of one operand."""

    operation: UnaryOperation = field(kw_only=True)
    alpha: float = field(default=0.0, kw_only=True)
    beta: float = field(default=0.0, kw_only=True)


@dataclass(frozen=True)
class Normalise(Layer):
    """A float32 function of each pixel's channels: softmax, layer normalisation; sum, mean, maximum (one channel each)."""

    kind: NormaliseKind = field(kw_only=True)
    epsilon: float = field(default=0.0, kw_only=True)
    gamma: npt.NDArray[np.float32] | None = field(default=None, kw_only=True)
    beta: npt.NDArray[np.float32] | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Segment:
    """What becomes one ELF: layers in execution order, and the tensors that come and go, in argument order."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    layers: tuple[Layer, ...]
