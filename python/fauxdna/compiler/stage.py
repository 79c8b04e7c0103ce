"""A stage: uniform jobs between two barriers, as tiling leaves them and before columns, cores and addresses are chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..abi import array
from .patterns import Operand
from .tile_code import Step

WEIGHTS = ".ctrlpkt-weights"
"""Buffer name of the constants."""
ALIGNMENT = 64
"""Of buffers in tile memory: a stream beat."""


def align(size: int) -> int:
    """``size`` rounded up to :data:`ALIGNMENT`."""
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Stage:
    """``tiles_y`` x ``tiles_x`` jobs in each of ``passes`` passes.

    A job's input is its ``fetches`` one after the other in one slot; its output goes where ``store`` says. ``parameters`` is
    brought to every core at the beginning of each pass, one operand after the other (several only in a single pass).
    ``job(y, x)`` gives a tile's instructions, which may use ``scratch`` bytes of their own.

    With ``blocks`` above 1 (in a single pass) each job sees that many parameter blocks one after the other: its last ``blocks``
    instructions have one each. So a tile with much input and many weights is brought once, and the weights again for each round.
    """

    name: str
    layer: int
    tiles_y: int
    tiles_x: int
    passes: int
    fetches: tuple[Operand, ...]
    store: Operand
    parameters: tuple[Operand, ...]
    job: Callable[[int, int], tuple[Step, ...]]
    scratch: int = 0
    blocks: int = 1

    @property
    def input_size(self) -> int:
        """Bytes of one input slot."""
        return sum(fetch.size for fetch in self.fetches)

    @property
    def parameter_size(self) -> int:
        """Bytes of one pass's parameters."""
        return sum(operand.size for operand in self.parameters)

    @property
    def by_columns(self) -> bool:
        """Whether jobs go down tile columns: operands that take turns have a BD each, which steps in one direction only."""
        return len(self.fetches) > 1

    @property
    def jobs(self) -> int:
        """Jobs in all."""
        return self.tiles_y * self.tiles_x * self.passes

    def columns(self, available: int) -> int:
        """Columns that share the tile rows."""
        if self.tiles_y * self.tiles_x <= array.CORE_ROWS:
            return 1
        return min(available, self.tiles_y)

    def rows(self, column: int, columns: int) -> range:
        """The tile rows of one of ``columns`` columns."""
        return range(column * self.tiles_y // columns, (column + 1) * self.tiles_y // columns)


def memory_needed(input_size: int, output_size: int, fixed: int, slots: int) -> int:
    """Bytes of core data memory that a stage takes; ``fixed`` is its parameters and scratch."""
    return align(fixed) + slots * (align(input_size) + align(output_size))
