"""The Rust core: host memory, queues, micro-controllers and the AIE array."""

def tile_execute(
    opcode: int, descriptor: bytes, operands: list[int], memory: bytearray, simd: str | None = None
) -> tuple[int, int, int]:
    """Run one arithmetic tile instruction on ``memory`` in place and return its cost.

    Args:
        opcode: tile_program.Opcode.
        descriptor: the instruction's descriptor, of exactly its structure's size.
        operands: byte addresses in ``memory``, in the order of tile_program.OPERATIONS.
        memory: the tile's data memory.
        simd: "scalar", "avx2" or "avx512"; None takes the best that the processor has.

    Returns:
        Simulated cycles, multiply-accumulates and elements written.

    Raises:
        ValueError: a text and the tile_program.Fault; ``memory`` is unchanged.
    """

def simd_levels() -> list[str]:
    """Names of the instruction-set levels that this processor has, lowest first."""
