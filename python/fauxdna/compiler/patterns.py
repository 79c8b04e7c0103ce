"""How one operand of a layer's jobs lies in host memory, and the shim DMA tasks that walk it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from ..abi import array
from .errors import CompileError

WRAP_MAX = array.SHIM_BD_WORDS.fields["d1_wrap"].mask
ITERATIONS_MAX = array.SHIM_BD_WORDS.fields["iteration_wrap"].mask + 1
REPEATS_MAX = array.START_QUEUE.fields["repeat"].mask + 1
STEP_MAX = array.SHIM_BD_WORDS.fields["d1_step"].mask
"""Words."""
INNER_DIMENSIONS = 3


@dataclass(frozen=True)
class Dimension:
    """``count`` items, ``step`` bytes apart; a step of 0 repeats."""

    count: int
    step: int


@dataclass(frozen=True)
class Operand:
    """Bytes of ``buffer`` that jobs read or write.

    A job's bytes are runs of ``run`` bytes spread over ``window`` (innermost dimension first), from ``offset`` plus the job's
    tile row times ``step_y``, its tile column times ``step_x`` and its pass's ``passes`` entry (none: 0).
    """

    buffer: str
    offset: int
    run: int
    window: tuple[Dimension, ...]
    step_y: int
    step_x: int
    passes: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of one job."""
        size = self.run
        for dimension in self.window:
            size *= dimension.count
        return size

    def extent(self, tiles_y: int, tiles_x: int) -> tuple[int, int]:
        """First byte and end of all that the jobs touch."""
        low = self.offset + min(self.passes, default=0)
        high = self.offset + max(self.passes, default=0) + (tiles_y - 1) * self.step_y + (tiles_x - 1) * self.step_x + self.run
        return low, high + sum((dimension.count - 1) * dimension.step for dimension in self.window)


@dataclass(frozen=True)
class ShimTask:
    """One shim BD, and how often it runs. ``address`` is in bytes of the buffer, all else in words."""

    address: int
    length: int
    wraps: tuple[int, int, int]
    steps: tuple[int, int, int]
    iterations: int
    iteration_step: int
    runs: int

    def bd(self, base: int, **fields: int) -> bytes:
        """The BD's words, for a buffer that starts ``base`` bytes into its argument."""
        address = base + self.address
        return array.SHIM_BD_WORDS.pack(
            address_high=address >> 32,
            address_low=address & 0xFFFFFFFF,
            length=self.length,
            d0_wrap=self.wraps[0],
            d1_wrap=self.wraps[1],
            d2_wrap=self.wraps[2],
            d1_step=self.steps[0],
            d2_step=self.steps[1],
            d3_step=self.steps[2],
            iteration_wrap=self.iterations - 1,
            iteration_step=self.iteration_step,
            **fields,
        )


def _divisor(value: int, limit: int) -> int:
    return next(d for d in range(min(value, limit), 0, -1) if value % d == 0)


def _merged(run: int, dimensions: Sequence[Dimension]) -> tuple[int, list[Dimension]]:
    """Run and dimensions in words, with those that continue one another made one."""
    if run % 4 or any(d.step % 4 for d in dimensions if d.count > 1):
        raise CompileError(f"a transfer of {run} bytes is not aligned to the DMA's 4-byte words")
    run //= 4
    merged: list[Dimension] = []
    for dimension in dimensions:
        count, step = dimension.count, dimension.step // 4
        if count == 1:
            continue
        if not merged and step == run:
            run *= count
        elif merged and step and step == merged[-1].step * merged[-1].count:
            merged[-1] = replace(merged[-1], count=merged[-1].count * count)
        else:
            merged.append(Dimension(count, step))
    if merged and run > WRAP_MAX:
        inner = _divisor(run, WRAP_MAX)
        merged.insert(0, Dimension(run // inner, inner))
        run = inner
    return run, merged


def _task(address: int, run: int, inner: Sequence[Dimension], iteration: Dimension, runs: int) -> ShimTask:
    length, wraps, steps = run, [0, 0, 0], [1, 1, 1]
    for level, dimension in enumerate(inner):
        if dimension.step == 0:
            raise CompileError("a transfer repeats an inner dimension, which a DMA cannot")
        wraps[level] = run if level == 0 else inner[level - 1].count
        steps[level] = dimension.step
        length *= dimension.count
    if max(wraps) > WRAP_MAX or max(*steps, iteration.step) > STEP_MAX or runs > REPEATS_MAX:
        raise CompileError(f"a transfer needs wraps {wraps}, steps {steps}, {runs} runs; a shim BD holds {WRAP_MAX}, {STEP_MAX}")
    iterations = iteration.count if iteration.step else 1
    return ShimTask(
        address,
        length,
        (wraps[0], wraps[1], wraps[2]),
        (steps[0], steps[1], steps[2]),
        iterations,
        iteration.step or 1,
        runs,
    )


def tasks(address: int, run: int, dimensions: Sequence[Dimension]) -> list[ShimTask]:
    """Tasks that move runs of ``run`` bytes from ``address`` on over ``dimensions``, innermost first, in order."""
    run, merged = _merged(run, dimensions)
    return _tasks(address, run, merged)


def _tasks(address: int, run: int, dimensions: list[Dimension]) -> list[ShimTask]:
    repeats = 1
    if dimensions and dimensions[-1].step == 0:
        repeats = dimensions[-1].count
        dimensions = dimensions[:-1]
    once = Dimension(1, 0)
    if len(dimensions) <= INNER_DIMENSIONS:
        return [_task(address, run, dimensions, once, repeats)]
    outer = dimensions[-1]
    if len(dimensions) == INNER_DIMENSIONS + 1 and outer.count <= ITERATIONS_MAX:
        return [_task(address, run, dimensions[:-1], outer, outer.count * repeats)]
    rounds = [task for index in range(outer.count) for task in _tasks(address + 4 * index * outer.step, run, dimensions[:-1])]
    return rounds * repeats


def job_tasks(operand: Operand, rows: range, tiles_x: int, passes: int, *, by_columns: bool = False) -> list[ShimTask]:
    """Tasks that bring one operand of all jobs of tile rows ``rows``, pass after pass.

    Jobs go along tile rows, or (``by_columns``) down tile columns.
    """
    address = operand.offset + rows.start * operand.step_y
    grid = [Dimension(tiles_x, operand.step_x), Dimension(len(rows), operand.step_y)]
    dimensions = [*operand.window, *(reversed(grid) if by_columns else grid)]
    found: list[ShimTask] = []
    for first, count, step in _runs(operand.passes or (0,) * passes):
        found += tasks(address + first, operand.run, [*dimensions, Dimension(count, step)])
    return found


def _runs(offsets: Sequence[int]) -> list[tuple[int, int, int]]:
    """Offsets as runs of equal steps: (first, count, step)."""
    runs: list[tuple[int, int, int]] = []
    for offset in offsets:
        if runs:
            first, count, step = runs[-1]
            next_step = offset - first if count == 1 else step
            if offset == first + count * next_step and next_step >= 0:
                runs[-1] = (first, count + 1, next_step)
                continue
        runs.append((offset, 1, 0))
    return runs


def interleaved_tasks(operands: Sequence[Operand], rows: range, tiles_x: int) -> list[list[ShimTask]]:
    """Tasks of several operands that take turns job by job, down tile columns, each a chain with one BD for each operand."""
    chains = []
    for column, start in product(range(tiles_x), range(rows.start, rows.stop, ITERATIONS_MAX)):
        count = min(ITERATIONS_MAX, rows.stop - start)
        chain = []
        for operand in operands:
            run, window = _merged(operand.run, operand.window)
            if len(window) > INNER_DIMENSIONS or operand.step_y % 4:
                raise CompileError(f"operand {operand.buffer} has too many dimensions for a chain of BDs")
            job = Dimension(count, operand.step_y // 4)
            address = operand.offset + column * operand.step_x + start * operand.step_y
            chain.append(_task(address, run, window, job, count))
        chains.append(chain)
    return chains
