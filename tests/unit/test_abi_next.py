"""Protocol 5.24 and the wider UAPI against the numbers that C compiles of AMD's newer headers printed."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path

import pytest

from fauxdna.abi import messages_5_24 as messages
from fauxdna.abi import uapi_next as uapi
from fauxdna.abi._declare import Struct
from fauxdna.abi.messages import PROTOCOL_5_10
from fauxdna.abi.protocols import NEWEST, PROTOCOLS

DATA = Path(__file__).parent / "data"


def _rows(name: str) -> list[list[str]]:
    return [line.split() for line in (DATA / name).read_text().splitlines() if not line.startswith("#")]


MODULES = ((messages, _rows("aie4_messages_5.24.txt")), (uapi, _rows("amdxdna_accel_next.txt")))
STRUCTS = [(module, row) for module, rows in MODULES for row in rows if row[0] in "SF"]
VALUES = [(module, row) for module, rows in MODULES for row in rows if row[0] in "ED"]
OWN_FIRST = 0xFA0001


@pytest.mark.parametrize(("module", "row"), STRUCTS, ids=[" ".join(row[1:-1]) for _, row in STRUCTS])
def test_sizes_and_offsets(module: object, row: list[str]) -> None:
    own = [struct for struct in vars(module).values() if isinstance(struct, Struct) and struct.name == row[1]]
    struct = min(own, key=lambda struct: struct is uapi.HWCTX_ENTRY)
    assert int(row[-1]) == (struct.size if row[0] == "S" else struct.offsets[row[2]])


@pytest.mark.parametrize(("module", "row"), VALUES, ids=[" ".join(row[1:-1]) for _, row in VALUES])
def test_values(module: object, row: list[str]) -> None:
    ours = getattr(module, row[1])
    if row[0] == "E":
        assert issubclass(ours, IntEnum)
        ours = ours[row[2]]
    assert ours == int(row[-1])


def test_opcodes_are_those_of_the_header_and_our_own() -> None:
    theirs = {row[1]: int(row[2]) for row in MODULES[0][1] if row[0] == "O"}
    own = {name: opcode for opcode, name in _names().items() if opcode >= OWN_FIRST}
    assert {name: opcode for opcode, name in _names().items()} == theirs | own
    assert list(own.values()) == [OWN_FIRST + index for index in range(len(own))]


def test_5_24_has_all_of_5_10_as_it_is() -> None:
    assert {opcode: messages.PROTOCOL_5_24.messages[opcode] for opcode in PROTOCOL_5_10.messages} == PROTOCOL_5_10.messages
    assert set(PROTOCOLS) == {(5, 10), (5, 24)}
    assert NEWEST is messages.PROTOCOL_5_24


def test_telemetry_as_xrt_2_25_reads_it() -> None:
    """Offsets in the code of Debian's libxrt_driver_xdna.so 2.25: deep sleep at 4, interrupts at 16, opcodes at 144 and 208,
    frame events at 480 and layer events at 528, of six contexts each."""
    offsets = uapi.NEXT_TELEMETRY.offsets
    assert [offsets[name] for name in ("deep_slp", "l1_interrupt", "hyp_opcode", "sup_opcode")] == [4, 16, 144, 208]
    counters = [offsets[f"preemption_{name}_counter"] for name in ("frame_boundary", "checkpoint_event")]
    assert [*counters, uapi.NEXT_TELEMETRY.size] == [480, 528, 576]


def _names() -> dict[int, str]:
    return {opcode: message.name for opcode, message in messages.PROTOCOL_5_24.messages.items()}
