"""Tile programs: what a core tile runs in this device, in place of the unpublished core instruction set.

A program is little-endian 32-bit words in program memory, started at word 0 when the core is enabled. An instruction's first
word is ``opcode[7:0] | length[15:8] | argument[31:16]``, ``length`` counting all its words. Arithmetic instructions take
their shape from a *descriptor*: a structure in the same program memory, ``argument`` words from its start, so one descriptor
serves many instructions. Their operands are data-memory addresses, ``base << 24 | offset``: register ``base`` (r0 reads as
zero) plus a byte offset. Every operand's whole extent is computed from the descriptor and must lie in this tile's data memory.

All of this is *chosen*; the arithmetic it names follows ONNX and AIE-ML (SRS rounding). ``docs/tile-programs.md`` is the prose.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

from ._declare import Bits, Field, Struct, Words

_SOURCE = "chosen (docs/tile-programs.md)"

REGISTERS: Final = 16
LOOP_DEPTH: Final = 4

INSTRUCTION = Words(
    "tile_instruction", 1, [Bits("opcode", 0, 7, 0), Bits("length", 0, 15, 8), Bits("argument", 0, 31, 16)], source=_SOURCE
)
OPERAND = Words("tile_operand", 1, [Bits("offset", 0, 23, 0), Bits("base", 0, 27, 24)], source=_SOURCE)


class ElementType(IntEnum):
    """Element types of operands."""

    U8 = 0
    S8 = 1
    S16 = 2
    S32 = 3
    F32 = 4
    BF16 = 5


class Requantise(IntEnum):
    """How an int32 accumulator becomes an output element."""

    NONE = 0
    """The accumulator (plus bias) itself; output S32."""
    SCALE = 1
    """float32(acc) * scale[channel], then round half to even, plus zero point, clamp (NaN: the lower bound). With output F32: the
    product itself."""
    SRS = 2
    """Shift right by ``srs_shift`` (0..62) with ``srs_mode`` rounding, plus zero point, saturation, clamp."""


class OutputFlags(IntFlag):
    """What the parameter block of an output stage holds, in this order, and how it is used."""

    BIAS = 1
    """int32 bias[channels rounded up to 16], added to the accumulator."""
    PER_CHANNEL = 2
    """float32 scale[channels rounded up to 16]; without it one float32 (and 12 bytes of padding), for Requantise.SCALE only."""
    TABLE = 4
    """256 bytes: the 8-bit result (as an unsigned index) is replaced by table[result]."""
    ACCUMULATE = 8
    """The S32 already at the output is added to the accumulator (Requantise.NONE only)."""


class SrsRounding(IntEnum):
    """AIE-ML shift-round-saturate rounding modes (facts: UG1079, AIE API)."""

    FLOOR = 0
    CEIL = 1
    SYM_FLOOR = 2
    SYM_CEIL = 3
    NEG_INF = 8
    POS_INF = 9
    SYM_ZERO = 10
    SYM_INF = 11
    CONV_EVEN = 12
    CONV_ODD = 13


class SrsSaturation(IntEnum):
    """AIE-ML saturation modes."""

    NONE = 0
    SATURATE = 1
    SYMMETRIC = 3


def _output_stage() -> list[Field]:
    return [
        Field("out_type", "u32", doc="ElementType"),
        Field("requantise", "u32", doc="Requantise"),
        Field("out_flags", "u32", doc="OutputFlags"),
        Field("out_zero", "i32"),
        Field("clamp_low", "i32", doc="bounds of the result, zero point included"),
        Field("clamp_high", "i32"),
        Field("srs_shift", "u32"),
        Field("srs_mode", "u32", doc="SrsRounding | SrsSaturation << 8"),
    ]


CONV2D = Struct(
    "tile_conv2d",
    104,
    [
        Field("out_height", "u32"),
        Field("out_width", "u32"),
        Field("out_channels", "u32"),
        Field("in_channels", "u32", doc="rounded up to 4 in the weights; the extra weights are zero"),
        Field("kernel_height", "u32"),
        Field("kernel_width", "u32"),
        Field("stride_height", "u32"),
        Field("stride_width", "u32"),
        Field("dilation_height", "u32"),
        Field("dilation_width", "u32"),
        Field("in_row_pitch", "u32", doc="bytes between input rows"),
        Field("in_pixel_pitch", "u32", doc="bytes between input pixels, a multiple of 4 for 8-bit input"),
        Field("out_row_pitch", "u32"),
        Field("out_pixel_pitch", "u32"),
        Field("in_type", "u32", doc="ElementType: U8 or S8 (weights S8); S16 or S32 take weights of their own type"),
        Field("in_zero", "i32", doc="subtracted from every input element"),
        Field("weight_zero", "i32", doc="subtracted from every weight"),
        Field("reserved", "u32"),
        *_output_stage(),
    ],
    source=_SOURCE,
)
"""Valid (unpadded) convolution, also matrix multiply (height 1, kernel 1x1, a row of A a pixel).

8-bit weights lie as [out_channels/16][kernel_height][kernel_width][in_channels/4][16][4] (each dimension rounded up), which is
how a dot-product unit of 16 lanes by 4 bytes reads them; input channels are read rounded up to 4, too. S16 and S32 weights lie
as [kernel_height][kernel_width][in][out].
"""

DEPTHWISE = Struct(
    "tile_depthwise",
    96,
    [
        Field("out_height", "u32"),
        Field("out_width", "u32"),
        Field("channels", "u32"),
        Field("kernel_height", "u32"),
        Field("kernel_width", "u32"),
        Field("stride_height", "u32"),
        Field("stride_width", "u32"),
        Field("dilation_height", "u32"),
        Field("dilation_width", "u32"),
        Field("in_row_pitch", "u32"),
        Field("in_pixel_pitch", "u32"),
        Field("out_row_pitch", "u32"),
        Field("out_pixel_pitch", "u32"),
        Field("in_type", "u32", doc="U8 or S8"),
        Field("in_zero", "i32"),
        Field("reserved", "u32"),
        *_output_stage(),
    ],
    source=_SOURCE,
)
"""Depthwise convolution; S8 weights lie as [kernel_height][kernel_width][channels rounded up to 16]."""


class PoolKind(IntEnum):
    """Pooling functions."""

    MAX = 0
    SUM = 1
    """Sum into the output stage (average = SUM with scale in_scale / (out_scale * taps))."""


POOL = Struct(
    "tile_pool",
    96,
    [
        Field("out_height", "u32"),
        Field("out_width", "u32"),
        Field("channels", "u32"),
        Field("kernel_height", "u32"),
        Field("kernel_width", "u32"),
        Field("stride_height", "u32"),
        Field("stride_width", "u32"),
        Field("dilation_height", "u32"),
        Field("dilation_width", "u32"),
        Field("in_row_pitch", "u32"),
        Field("in_pixel_pitch", "u32"),
        Field("out_row_pitch", "u32"),
        Field("out_pixel_pitch", "u32"),
        Field("in_type", "u32", doc="U8 or S8"),
        Field("kind", "u32", doc="PoolKind; MAX copies the largest element and has no output stage but the table"),
        Field("in_zero", "i32"),
        *_output_stage(),
    ],
    source=_SOURCE,
)

REDUCE = Struct(
    "tile_reduce",
    64,
    [
        Field("rows", "u32", doc="elements summed per channel"),
        Field("channels", "u32"),
        Field("in_pitch", "u32", doc="bytes between rows"),
        Field("in_type", "u32", doc="U8, S8 or S32"),
        Field("in_zero", "i32"),
        Field("reserved", "u32", count=3),
        *_output_stage(),
    ],
    source=_SOURCE,
)
"""out[channel] = stage(sum over rows of (in - in_zero))."""

REQUANTISE = Struct(
    "tile_requantise",
    64,
    [
        Field("rows", "u32"),
        Field("channels", "u32"),
        Field("in_pitch", "u32"),
        Field("out_pitch", "u32"),
        Field("in_type", "u32", doc="S32"),
        Field("reserved", "u32", count=3),
        *_output_stage(),
    ],
    source=_SOURCE,
)
"""The output stage alone, from S32."""


class BinaryOperation(IntEnum):
    """Two-operand operations; 'a op b'."""

    ADD = 0
    SUBTRACT = 1
    MULTIPLY = 2
    DIVIDE = 3
    MAXIMUM = 4
    MINIMUM = 5


class Broadcast(IntEnum):
    """How the second operand is spread."""

    NONE = 0
    ROW = 1
    """One row of ``channels`` serves all rows."""
    SCALAR = 2
    COLUMN = 3
    """One element per row."""


BINARY = Struct(
    "tile_binary",
    80,
    [
        Field("rows", "u32"),
        Field("channels", "u32"),
        Field("a_pitch", "u32", doc="bytes between rows"),
        Field("b_pitch", "u32"),
        Field("out_pitch", "u32"),
        Field("operation", "u32", doc="BinaryOperation"),
        Field("broadcast", "u32", doc="Broadcast, of b"),
        Field("a_type", "u32", doc="U8, S8, F32, BF16"),
        Field("b_type", "u32"),
        Field("out_type", "u32"),
        Field("a_zero", "i32"),
        Field("b_zero", "i32"),
        Field("out_zero", "i32"),
        Field("a_scale", "f32"),
        Field("b_scale", "f32"),
        Field("out_scale", "f32"),
        Field("clamp_low", "i32"),
        Field("clamp_high", "i32"),
        Field("reserved", "u32", count=2),
    ],
    source=_SOURCE,
)
"""8-bit operands are dequantised as float32(x - zero) * scale; the float32 result r is stored as it is, or, for 8-bit output, as
clamp(round_half_even(r / out_scale) + out_zero). No fused multiply-add."""

TABLE = Struct(
    "tile_table",
    32,
    [
        Field("rows", "u32"),
        Field("row_elements", "u32"),
        Field("in_pitch", "u32"),
        Field("out_pitch", "u32"),
        Field("out_type", "u32", doc="U8 (256-byte table) or F32 (1024-byte table)"),
        Field("reserved", "u32", count=3),
    ],
    source=_SOURCE,
)
"""out = table[in as unsigned byte]."""

CONVERT = Struct(
    "tile_convert",
    64,
    [
        Field("pixels", "u32"),
        Field("channels", "u32"),
        Field("in_pixel_pitch", "u32", doc="bytes"),
        Field("in_channel_pitch", "u32"),
        Field("out_pixel_pitch", "u32"),
        Field("out_channel_pitch", "u32"),
        Field("in_type", "u32"),
        Field("out_type", "u32"),
        Field("scale", "f32"),
        Field("zero", "i32"),
        Field("clamp_low", "i32"),
        Field("clamp_high", "i32"),
        Field("fill_channels", "u32", doc="channels after the last up to this count are written as ``zero``"),
        Field("reserved", "u32", count=3),
    ],
    source=_SOURCE,
)
"""Quantise (F32/BF16 -> 8 bit: round_half_even(x / scale) + zero), dequantise (float32(x - zero) * scale), or cast between
float types, with any strides: also turns planes into pixels and back."""

COPY = Struct(
    "tile_copy",
    64,
    [
        Field("element_size", "u32", doc="1, 2 or 4 bytes"),
        Field("sizes", "u32", count=4, doc="outermost first"),
        Field("in_strides", "u32", count=4, doc="bytes; 0 repeats"),
        Field("out_strides", "u32", count=4),
        Field("reserved", "u32", count=3),
    ],
    source=_SOURCE,
)

FILL = Struct(
    "tile_fill",
    16,
    [Field("rows", "u32"), Field("row_bytes", "u32"), Field("pitch", "u32"), Field("value", "u32", doc="a byte")],
    source=_SOURCE,
)


class UnaryOperation(IntEnum):
    """float32 functions of one operand."""

    RELU = 0
    EXP = 1
    LOG = 2
    TANH = 3
    SIGMOID = 4
    ERF = 5
    SQRT = 6
    RECIPROCAL = 7
    NEGATE = 8
    ABS = 9
    HARD_SIGMOID = 10
    """max(0, min(1, alpha * x + beta))"""
    CLIP = 11
    """max(alpha, min(beta, x))"""
    POWER = 12
    """x ** alpha, alpha a small integer"""


UNARY = Struct(
    "tile_unary",
    48,
    [
        Field("rows", "u32"),
        Field("channels", "u32"),
        Field("in_pitch", "u32"),
        Field("out_pitch", "u32"),
        Field("operation", "u32", doc="UnaryOperation"),
        Field("in_type", "u32", doc="F32 or BF16"),
        Field("out_type", "u32"),
        Field("alpha", "f32"),
        Field("beta", "f32"),
        Field("reserved", "u32", count=3),
    ],
    source=_SOURCE,
)


class NormaliseKind(IntEnum):
    """Row-wise float32 functions."""

    SOFTMAX = 0
    LAYER = 1
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta; the params operand holds float32 gamma[channels], then
    beta[channels], each rounded up to 16. The other kinds have no parameters."""
    SUM = 2
    MEAN = 3
    MAX = 4


NORMALISE = Struct(
    "tile_normalise",
    48,
    [
        Field("rows", "u32"),
        Field("channels", "u32"),
        Field("in_pitch", "u32"),
        Field("out_pitch", "u32"),
        Field("kind", "u32", doc="NormaliseKind; SUM, MEAN and MAX write one element per row"),
        Field("in_type", "u32", doc="F32 or BF16"),
        Field("out_type", "u32"),
        Field("epsilon", "f32"),
        Field("reserved", "u32", count=4),
    ],
    source=_SOURCE,
)
"""Sums run left to right in 16 interleaved float32 lanes (element i in lane i % 16), then lanes pairwise (i with i + 8, 4, 2, 1).
"""

PACK = Struct(
    "tile_pack",
    32,
    [
        Field("inner", "u32", doc="K: rows of B"),
        Field("outer", "u32", doc="N: columns of B"),
        Field("in_pitch", "u32", doc="bytes between rows of B"),
        Field("transposed", "u32", doc="1: B is given as [N][K]"),
        Field("reserved", "u32", count=4),
    ],
    source=_SOURCE,
)
"""8-bit matrix B into the weight layout of CONV2D (kernel 1x1)."""


class Opcode(IntEnum):
    """Tile-program opcodes."""

    HALT = 0x00
    MOVE = 0x01
    ADD = 0x02
    SWAP = 0x03
    LOOP = 0x04
    END_LOOP = 0x05
    ACQUIRE = 0x06
    RELEASE = 0x07
    EVENT = 0x08
    CONV2D = 0x20
    DEPTHWISE = 0x21
    POOL = 0x22
    REDUCE = 0x23
    REQUANTISE = 0x24
    BINARY = 0x28
    TABLE = 0x29
    CONVERT = 0x2A
    COPY = 0x2B
    FILL = 0x2C
    PACK = 0x2D
    UNARY = 0x30
    NORMALISE = 0x31


@dataclass(frozen=True)
class Operation:
    """One instruction's form: ``words`` are its plain operand words, ``addresses`` its data-memory operands (after them)."""

    opcode: Opcode
    words: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    descriptor: Struct | None = None
    doc: str = ""


OPERATIONS: Final = {
    operation.opcode: operation
    for operation in (
        Operation(Opcode.HALT, doc="the program ends; CORE_STATUS shows halted"),
        Operation(Opcode.MOVE, ("register", "value"), doc="register = value"),
        Operation(Opcode.ADD, ("target", "source", "value"), doc="target = source + value, modulo 2**32"),
        Operation(Opcode.SWAP, ("first", "second"), doc="exchange two registers"),
        Operation(Opcode.LOOP, ("count",), doc="run up to the matching END_LOOP count times (0: skip it)"),
        Operation(Opcode.END_LOOP),
        Operation(
            Opcode.ACQUIRE, ("lock", "value"), doc="value < 0: wait for lock >= -value, take it off; else wait for equality"
        ),
        Operation(Opcode.RELEASE, ("lock", "value"), doc="lock += value"),
        Operation(Opcode.EVENT, ("id",), doc="mark the trace; 0 to 5 are events that performance counters take"),
        Operation(Opcode.CONV2D, (), ("input", "weights", "params", "output"), CONV2D),
        Operation(Opcode.DEPTHWISE, (), ("input", "weights", "params", "output"), DEPTHWISE),
        Operation(Opcode.POOL, (), ("input", "params", "output"), POOL),
        Operation(Opcode.REDUCE, (), ("input", "params", "output"), REDUCE),
        Operation(Opcode.REQUANTISE, (), ("input", "params", "output"), REQUANTISE),
        Operation(Opcode.BINARY, (), ("a", "b", "output"), BINARY),
        Operation(Opcode.TABLE, (), ("input", "table", "output"), TABLE),
        Operation(Opcode.CONVERT, (), ("input", "output"), CONVERT),
        Operation(Opcode.COPY, (), ("input", "output"), COPY),
        Operation(Opcode.FILL, (), ("output",), FILL),
        Operation(Opcode.PACK, (), ("input", "output"), PACK),
        Operation(Opcode.UNARY, (), ("input", "output"), UNARY),
        Operation(Opcode.NORMALISE, (), ("input", "params", "output"), NORMALISE),
    )
}


class Fault(IntEnum):
    """Why a core stopped (low half of CORE_FAULT)."""

    NONE = 0
    UNKNOWN_OPCODE = 1
    BAD_LENGTH = 2
    PROGRAM_BOUNDS = 3
    DATA_BOUNDS = 4
    MISALIGNED = 5
    BAD_DESCRIPTOR = 6
    LOOP_NESTING = 7
    BAD_LOCK = 8
    OVERLAP = 9
    LOCK_OVERFLOW = 10
    BUDGET = 11
