"""Any descriptor, any operands: an arithmetic instruction runs or faults; it never crashes, hangs or reaches outside the tile."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fauxdna import _core
from fauxdna.abi.tile_program import OPERATIONS, Fault, Opcode, Operation

ARITHMETIC = [operation for operation in OPERATIONS.values() if operation.descriptor is not None]
EXPECTED = {Fault.BAD_DESCRIPTOR, Fault.DATA_BOUNDS, Fault.MISALIGNED, Fault.OVERLAP}
SIZE = 4096

words = st.sampled_from([0, 1, 1, 1, 2, 3, 4, 5, 16, 17, 64, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1])
addresses = st.sampled_from([0, 64, 1024, 2048, 2049, SIZE - 4, SIZE - 1, SIZE, 2**31, 2**32 - 1])


@pytest.mark.parametrize("operation", ARITHMETIC, ids=lambda operation: operation.opcode.name)
@pytest.mark.parametrize("level", _core.simd_levels())
def test_any_instruction_is_answered(operation: Operation, level: str) -> None:
    assert operation.descriptor is not None
    code, size, count = operation.opcode, operation.descriptor.size, len(operation.addresses)
    outcomes = set()

    @settings(max_examples=150, deadline=60_000)
    @given(st.lists(words, min_size=size // 4, max_size=size // 4), st.lists(addresses, min_size=count, max_size=count))
    def answer(fields: list[int], operands: list[int]) -> None:
        memory = bytearray(SIZE)
        try:
            _core.tile_execute(code, np.array(fields, np.uint32).tobytes(), operands, memory, level)
        except ValueError as error:
            outcomes.add(Fault(error.args[1]))
        assert len(memory) == SIZE

    answer()
    assert outcomes <= EXPECTED
    assert outcomes, "hostile descriptors fault"


def test_what_is_no_arithmetic_instruction() -> None:
    for opcode, descriptor, operands, expected in (
        (Opcode.HALT, b"", [], Fault.UNKNOWN_OPCODE),
        (0xFFFFFFFF, b"", [], Fault.UNKNOWN_OPCODE),
        (Opcode.FILL, bytes(15), [0], Fault.BAD_LENGTH),
        (Opcode.FILL, bytes(16), [], Fault.BAD_LENGTH),
    ):
        with pytest.raises(ValueError, match="fault") as caught:
            _core.tile_execute(opcode, descriptor, operands, bytearray(64))
        assert caught.value.args[1] == expected
