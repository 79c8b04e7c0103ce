"""Tile programs: instructions over a job's regions of data memory, and the program one core runs for one stage."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import groupby

from ..abi import array
from ..abi.tile_program import INSTRUCTION, OPERAND, Opcode
from .errors import CompileError

# Locks of a core tile. A "free" lock counts empty buffers, a "full" one filled buffers.
INPUT_FREE, INPUT_FULL, OUTPUT_FREE, OUTPUT_FULL, PARAMETERS_FREE, PARAMETERS_FULL = range(6)
CORE_LOCKS = 6
PERIOD_MAX = 32
"""Jobs in the longest pattern that is looked for."""
INPUT_REGISTER, OTHER_INPUT_REGISTER, OUTPUT_REGISTER, OTHER_OUTPUT_REGISTER = range(1, 5)
LOCK_INITIAL = {INPUT_FREE: 2, OUTPUT_FREE: 2, PARAMETERS_FREE: 1}


class Region(Enum):
    """What an operand's offset counts from."""

    INPUT = "input"
    OUTPUT = "output"
    PARAMETERS = "parameters"
    SCRATCH = "scratch"


@dataclass(frozen=True)
class Step:
    """One arithmetic instruction of a job: its descriptor's bytes, and its operands as (region, byte offset)."""

    opcode: Opcode
    descriptor: bytes
    operands: tuple[tuple[Region, int], ...]


@dataclass(frozen=True)
class CoreLayout:
    """Addresses of a stage's buffers in core data memory; the second of a pair equals the first if there is but one."""

    inputs: tuple[int, int]
    outputs: tuple[int, int]
    parameters: int
    scratch: int


Instruction = tuple[int, tuple[int, ...], bytes]
"""Opcode, operand words, descriptor (or nothing)."""


def _plain(opcode: Opcode, *words: int) -> Instruction:
    return (int(opcode), tuple(word & 0xFFFFFFFF for word in words), b"")


def _address(operand: tuple[Region, int], layout: CoreLayout) -> int:
    region, offset = operand
    if region in (Region.PARAMETERS, Region.SCRATCH):
        start = layout.parameters if region is Region.PARAMETERS else layout.scratch
        return OPERAND.encode(offset=start + offset)[0]
    base = INPUT_REGISTER if region is Region.INPUT else OUTPUT_REGISTER
    return OPERAND.encode(base=base, offset=offset)[0]


_TAKE_PARAMETERS = _plain(Opcode.ACQUIRE, PARAMETERS_FULL, -1)
_GIVE_PARAMETERS = _plain(Opcode.RELEASE, PARAMETERS_FREE, 1)


def _job(steps: Sequence[Step], layout: CoreLayout, blocks: int = 0) -> tuple[Instruction, ...]:
    """A job; each of its last ``blocks`` steps has a parameter block of its own."""
    body = [_plain(Opcode.ACQUIRE, INPUT_FULL, -1), _plain(Opcode.ACQUIRE, OUTPUT_FREE, -1)]
    for index, step in enumerate(steps):
        addresses = tuple(_address(operand, layout) for operand in step.operands)
        instruction = (int(step.opcode), addresses, step.descriptor)
        own = index >= len(steps) - blocks
        body += [_TAKE_PARAMETERS, instruction, _GIVE_PARAMETERS] if own else [instruction]
    body += [_plain(Opcode.RELEASE, INPUT_FREE, 1), _plain(Opcode.RELEASE, OUTPUT_FULL, 1)]
    if layout.inputs[0] != layout.inputs[1]:
        body.append(_plain(Opcode.SWAP, INPUT_REGISTER, OTHER_INPUT_REGISTER))
        body.append(_plain(Opcode.SWAP, OUTPUT_REGISTER, OTHER_OUTPUT_REGISTER))
    return tuple(body)


def _looped(bodies: Sequence[tuple[Instruction, ...]]) -> tuple[Instruction, ...]:
    """The bodies in order, runs of equal ones as loops."""
    code: list[Instruction] = []
    for body, group in groupby(bodies):
        code += _loop(body, len(list(group)))
    return tuple(code)


def _loop(body: Sequence[Instruction], count: int) -> list[Instruction]:
    return [_plain(Opcode.LOOP, count), *body, _plain(Opcode.END_LOOP)] if count > 1 else list(body)


def _periodic(bodies: Sequence[tuple[Instruction, ...]]) -> tuple[Instruction, ...]:
    """The bodies in order, with what repeats as loops, one within another: tile rows differ only at an image's edges."""
    code: list[Instruction] = []
    at = 0
    while at < len(bodies):
        period, count = max(
            ((period, _repeats(bodies, at, period)) for period in range(1, PERIOD_MAX + 1)),
            key=lambda found: (found[0] * (found[1] - 1), -found[0]),
        )
        code += _loop(_looped(bodies[at : at + period]), count)
        at += period * count
    return tuple(code)


def _repeats(bodies: Sequence[tuple[Instruction, ...]], at: int, period: int) -> int:
    """How many times the ``period`` bodies from ``at`` on follow one another."""
    end = at
    while end + period < len(bodies) and bodies[end] == bodies[end + period]:
        end += 1
    return (end - at) // period + 1


def _start(layout: CoreLayout) -> list[Instruction]:
    return [
        _plain(Opcode.MOVE, INPUT_REGISTER, layout.inputs[0]),
        _plain(Opcode.MOVE, OTHER_INPUT_REGISTER, layout.inputs[1]),
        _plain(Opcode.MOVE, OUTPUT_REGISTER, layout.outputs[0]),
        _plain(Opcode.MOVE, OTHER_OUTPUT_REGISTER, layout.outputs[1]),
    ]


def round_program(jobs: Sequence[Sequence[Step]], layout: CoreLayout, *, rounds: int, blocks: int) -> bytes:
    """The program of a core whose jobs each see ``blocks`` parameter blocks; in rounds without a job it lets them pass."""
    idle = (_TAKE_PARAMETERS, _GIVE_PARAMETERS) * blocks
    bodies = [_job(steps, layout, blocks) for steps in jobs] + [idle] * (rounds - len(jobs))
    return assemble([*_start(layout), *_periodic(bodies), _plain(Opcode.HALT)])


def program(passes: Sequence[Sequence[Sequence[Step]]], layout: CoreLayout, *, parameters: bool) -> bytes:
    """The program of a core that does, in each pass, the given jobs (each a sequence of steps).

    ``parameters``: each pass begins with a new parameter block.
    """
    code, bodies = _start(layout), []
    for jobs in passes:
        body = _periodic([_job(steps, layout) for steps in jobs])
        if parameters:
            body = (_TAKE_PARAMETERS, *body, _GIVE_PARAMETERS)
        bodies.append(body)
    code += _looped(bodies)
    code.append(_plain(Opcode.HALT))
    return assemble(code)


def assemble(code: Sequence[Instruction]) -> bytes:
    """Instructions, then their descriptors, each once.

    Raises:
        CompileError: They do not fit into program memory.
    """
    length = sum(1 + len(words) for _, words, _ in code)
    places: dict[bytes, int] = {}
    tail = bytearray()
    out: list[int] = []
    for opcode, words, descriptor in code:
        argument = 0
        if descriptor:
            if descriptor not in places:
                places[descriptor] = length + len(tail) // 4
                tail += descriptor
            argument = places[descriptor]
        out += INSTRUCTION.encode(opcode=opcode, length=1 + len(words), argument=argument)
        out += words
    data = struct.pack(f"<{len(out)}I", *out) + bytes(tail)
    if len(data) > array.CORE_PROGRAM_SIZE:
        raise CompileError(
            f"a tile program takes {len(data)} bytes; program memory has {array.CORE_PROGRAM_SIZE}: use larger tiles"
        )
    return data
