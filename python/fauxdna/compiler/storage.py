"""Where tensors lie between stages: one workspace, shared by those that are not alive at the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .errors import CompileError
from .stage import WEIGHTS, Stage

ALIGNMENT = 64
"""Bytes; a host cache line."""


@dataclass
class _Buffer:
    """A buffer's size (what stages write beyond its tensor included), and the first and last stage that use it."""

    name: str
    size: int
    first: int
    last: int
    offset: int = 0


def workspace(stages: Sequence[Stage], sizes: Mapping[str, int], arguments: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """Byte offsets of all buffers that are not arguments, and the workspace's size.

    ``sizes`` are tensors' own bytes; ``arguments`` those of arguments, beyond which nothing may be touched. Windows may reach
    beyond a tensor where they read: whatever is there is replaced in tile memory, so the workspace only has to be wide enough.
    """
    buffers = _lifetimes(stages, sizes, arguments)
    before = -min((fetch.extent(s.tiles_y, s.tiles_x)[0] for s in stages for fetch in s.fetches), default=0)
    before = max(before + -before % ALIGNMENT, 0)
    end = before
    placed: list[_Buffer] = []
    # Large ones first, each at the lowest place that is free while it lives.
    for buffer in sorted(buffers.values(), key=lambda b: (-b.size, b.first, b.name)):
        at = before
        for other in placed:
            apart = other.last < buffer.first or buffer.last < other.first
            if not apart and other.offset < at + buffer.size:
                at = max(at, other.offset + other.size)
        buffer.offset = at
        placed.append(buffer)
        placed.sort(key=lambda b: b.offset)
        end = max(end, at + buffer.size)
    for stage in stages:
        for fetch in stage.fetches:
            if fetch.buffer in buffers:
                end = max(end, buffers[fetch.buffer].offset + fetch.extent(stage.tiles_y, stage.tiles_x)[1])
    return {buffer.name: buffer.offset for buffer in placed}, end + -end % 4096


def _lifetimes(stages: Sequence[Stage], sizes: Mapping[str, int], arguments: Mapping[str, int]) -> dict[str, _Buffer]:
    buffers: dict[str, _Buffer] = {}
    for index, stage in enumerate(stages):
        reads = [(fetch, stage.tiles_y, stage.tiles_x) for fetch in stage.fetches]
        reads += [(operand, 1, 1) for operand in stage.parameters]
        for operand, tiles_y, tiles_x in [*reads, (stage.store, stage.tiles_y, stage.tiles_x)]:
            low, high = operand.extent(tiles_y, tiles_x)
            name = operand.buffer
            if name == WEIGHTS:
                continue
            if name in arguments:
                if low < 0 or high > arguments[name]:
                    raise CompileError(
                        f"layer {stage.name} reaches bytes {low} to {high} of argument {name}, which has {arguments[name]}: only "
                        "conversions may read and write a segment's inputs and outputs"
                    )
                continue
            writes = operand is stage.store
            if name not in buffers:
                if not writes:
                    raise CompileError(f"layer {stage.name} reads tensor {name}, which no earlier layer writes")
                buffers[name] = _Buffer(name, sizes.get(name, 0), index, index)
            buffer = buffers[name]
            buffer.last = index
            if writes:
                buffer.size = max(buffer.size, high)
    for buffer in buffers.values():
        buffer.size += -buffer.size % ALIGNMENT
    return buffers
