"""Making fewer layers of lowered ones: tables into the layers before them, parts of a concatenation written in place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..abi.tile_program import ElementType
from . import ir
from .lowering import CpuNode

Item = ir.Layer | CpuNode

STAGED = (ir.Conv, ir.ConvTranspose, ir.Pool, ir.Reduce)
"""Layers with an output stage, which may hold a table."""
RETARGETABLE = (ir.Conv, ir.ConvTranspose, ir.Pool, ir.Binary, ir.Resize, ir.Table)
"""Layers that can write a channel range of a larger tensor."""
IDENTITY = np.arange(256, dtype=np.uint8)


def fuse(items: Sequence[Item], outputs: Sequence[str]) -> list[Item]:
    """Fuse tables into their only producers and drop layers nobody reads; ``outputs`` are tensors needed outside."""
    uses: Counter[str] = Counter(outputs)
    writers: Counter[str] = Counter()
    for item in items:
        uses.update(reads(item))
        writers.update(writes(item))
    result: list[Item | None] = []
    made: dict[str, int] = {}
    for item in items:
        if isinstance(item, ir.Table) and item.output.type is not ElementType.F32:
            source = item.inputs[0].name
            at = made.get(source)
            producer = result[at] if at is not None else None
            if at is not None and isinstance(producer, ir.Layer) and uses[source] == 1 and writers[source] == 1:
                merged = _merge(producer, item)
                if merged is not None:
                    result[at] = merged
                    made[item.output.name] = at
                    continue
        result.append(item)
        for name in writes(item):
            made[name] = len(result) - 1
    return _live([item for item in result if item is not None], outputs)


def reads(item: Item) -> list[str]:
    """Names of the tensors an item reads."""
    return [tensor.name for tensor in item.inputs] if isinstance(item, ir.Layer) else item.node.reads()


def writes(item: Item) -> list[str]:
    """Names of the tensors an item writes."""
    return [item.output.name] if isinstance(item, ir.Layer) else [name for name in item.node.outputs if name]


def _merge(producer: ir.Layer, table: ir.Table) -> ir.Layer | None:
    """``producer`` with ``table`` applied to its result, or None where that can't be said."""
    before = producer.output
    if before.type is ElementType.F32 or producer.channel_offset or producer.channels != table.channels:
        return None
    partial = table.channel_offset > 0 or table.channels != table.output.channels
    if partial and not isinstance(producer, RETARGETABLE):
        return None
    out = replace(table.output, height=before.height, width=before.width)
    nodes = tuple(dict.fromkeys((*producer.nodes, *table.nodes)))
    changes: dict[str, Any] = {"output": out, "nodes": nodes, "channel_offset": table.channel_offset}
    identity = bool((table.table == IDENTITY).all())
    if identity and isinstance(producer, RETARGETABLE):
        return replace(producer, **changes)
    if isinstance(producer, STAGED):
        earlier = producer.stage.table
        entries = table.table if earlier is None else table.table[earlier]
        return replace(producer, **changes, stage=replace(producer.stage, table=entries.astype(np.uint8)))
    if isinstance(producer, ir.Table):
        return replace(producer, **changes, table=table.table[producer.table])
    return None


def _live(items: list[Item], outputs: Sequence[str]) -> list[Item]:
    wanted = set(outputs)
    kept: list[Item] = []
    for item in reversed(items):
        if wanted.intersection(writes(item)):
            kept.append(item)
            wanted.update(reads(item))
    return kept[::-1]
