"""Choice of tile sizes: as few and large jobs as fit, with little redundant traffic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ...abi import array
from ..errors import CompileError
from ..stage import align, memory_needed

CORES = array.CORE_ROWS
JOB_BYTES_MIN = 4096
"""Work smaller than this is not worth spreading over more cores."""
SLOT_BYTES_MAX = 60 * 1024
"""Input and output of one job, so that two jobs' slots and some parameters fit into a core."""

# What a tiling costs on the host that plays the array, in nanoseconds; only the ratios matter.
MAC_NS = 1 / 150
BYTE_NS = 0.3
JOB_NS = 2000.0
RUN_NS = 40.0
"""Each stretch of contiguous host memory that a job reads or writes."""


@dataclass(frozen=True)
class Machine:
    """What tiling may use."""

    columns: int

    @property
    def cores(self) -> int:
        """Cores of all columns."""
        return self.columns * CORES

    def slots(self, tiles_y: int, tiles_x: int, passes: int) -> int:
        """Slots that each core needs: two where some core has more than one job."""
        columns = 1 if tiles_y * tiles_x <= CORES else min(self.columns, tiles_y)
        return 2 if -(-tiles_y // columns) * tiles_x * passes > CORES else 1


@dataclass(frozen=True)
class Grid:
    """Output tiles of ``height`` x ``width`` elements, ``tiles_y`` x ``tiles_x`` of them."""

    height: int
    width: int
    tiles_y: int
    tiles_x: int


def divisors(value: int) -> list[int]:
    """All divisors, smallest first."""
    return [d for d in range(1, value + 1) if value % d == 0]


def flat(
    name: str,
    pixels: int,
    input_bytes: int,
    output_bytes: int,
    fixed: int,
    machine: Machine,
    *,
    passes: int = 1,
    scratch: int = 0,
) -> Grid:
    """Cuts ``pixels`` into equal runs (the last may reach beyond the end).

    ``fixed`` bytes of parameters stay in the core; each pixel also takes ``scratch`` bytes while its job runs.
    """
    each = input_bytes + output_bytes
    least = -(-JOB_BYTES_MIN // each)
    for rounds in range(1, pixels + 1):
        count = max(-(-pixels // (machine.cores * rounds)), min(least, pixels))
        tiles = -(-pixels // count)
        slots = machine.slots(tiles, 1, passes)
        held = fixed + align(count * scratch)
        fits = memory_needed(count * input_bytes, count * output_bytes, held, slots) <= array.CORE_DATA_SIZE
        if fits and (count * each <= SLOT_BYTES_MAX or count == 1):
            return Grid(1, count, tiles, 1)
        if count == 1:
            break
    raise CompileError(
        f"layer {name}: one pixel of {input_bytes} + {output_bytes} bytes and {fixed} bytes of parameters do not fit into a "
        f"core's {array.CORE_DATA_SIZE} bytes; use fewer channels, or leave the layer to the CPU"
    )


def heights(limit: int) -> Iterable[int]:
    """Tile heights worth trying."""
    sizes = {*range(1, 17), 20, 24, 32, 40, 48, 64, 80, limit, -(-limit // 2), -(-limit // 3), -(-limit // 4), -(-limit // 12)}
    return sorted(size for size in sizes if 0 < size <= limit)


class Job(NamedTuple):
    """Input and output bytes of one job, and the contiguous stretches of host memory they lie in."""

    input: int
    output: int
    runs: int


def stretches(rows: int, columns: int, width: int, *, whole: bool) -> int:
    """Stretches of a tile in an image ``width`` pixels wide, of whole pixels or of some channels."""
    if not whole:
        return rows * columns
    return rows if columns < width else 1


@dataclass(frozen=True)
class Candidate:
    """A tiling and its cost."""

    grid: Grid
    cost: float


def windows(
    height: int,
    width: int,
    sizes: Callable[[int, int], Job],
    fixed: int,
    machine: Machine,
    *,
    passes: int = 1,
    pixel_ns: float,
    scratch: int = 0,
    across: int = 0,
) -> Candidate | None:
    """The cheapest tiling of ``height`` x ``width`` outputs, or None if nothing fits.

    ``sizes(tile height, tile width)`` tells what a job of that size moves; ``pixel_ns`` is the cost of one output pixel's
    arithmetic in one pass; ``scratch`` bytes for each are needed while a job runs. Tile widths divide the width, so that only
    rows below the last reach beyond the tensor; at most ``across`` tiles lie in a row (0: any number).
    """
    widths = [tile for tile in divisors(width) if not across or width // tile <= across]
    found = (_tilings(height, width, wide, sizes, fixed, machine, passes, pixel_ns, scratch) for wide in widths)
    return min((c for candidates in found for c in candidates), key=lambda c: c.cost, default=None)


def _tilings(
    height: int,
    width: int,
    tile_width: int,
    sizes: Callable[[int, int], Job],
    fixed: int,
    machine: Machine,
    passes: int,
    pixel_ns: float,
    scratch: int,
) -> Iterator[Candidate]:
    tiles_x = width // tile_width
    for tile_height in heights(height):
        tiles_y = -(-height // tile_height)
        input_size, output_size, runs = sizes(tile_height, tile_width)
        if input_size + output_size > SLOT_BYTES_MAX and tile_height > 1:
            return
        slots = machine.slots(tiles_y, tiles_x, passes)
        held = fixed + align(tile_height * tile_width * scratch)
        if memory_needed(input_size, output_size, held, slots) > array.CORE_DATA_SIZE:
            continue
        jobs = tiles_y * tiles_x * passes
        compute = tiles_y * tile_height * width * passes * pixel_ns
        # A last round that leaves cores idle costs simulated time only, so it weighs little.
        idle = -(-jobs // machine.cores) * machine.cores / jobs - 1
        cost = compute * (1 + 0.1 * idle) + jobs * (JOB_NS + runs * RUN_NS + (input_size + output_size) * BYTE_NS)
        yield Candidate(Grid(tile_height, tile_width, tiles_y, tiles_x), cost)
