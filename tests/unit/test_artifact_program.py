"""Programs on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from fauxdna.artifact.program import (
    ArrayStep,
    CpuStep,
    LayerInfo,
    NodePlacement,
    Program,
    ProgramError,
    TensorInfo,
)

PROGRAM = Program(
    "net",
    ("x",),
    ("y",),
    {name: TensorInfo(name, (1, 2, 3, 4), "uint8", 24) for name in ("x", "h", "y")},
    (
        ArrayStep("a", b"elf", ("x",), ("h",), 4096, 3, (LayerInfo("l", "Conv", ("n1",), 10, 2, 1, 24, 24),)),
        CpuStep("b", b"onnx", ("h",), ("y",)),
    ),
    (NodePlacement("n1", "Conv", "array", "", 30), NodePlacement("n2", "Foo", "cpu", "no tile form", 10)),
)


@pytest.mark.parametrize("name", ["net.fdna", "net"])
def test_a_program_is_read_back(tmp_path: Path, name: str) -> None:
    PROGRAM.save(tmp_path / name)
    assert Program.load(tmp_path / name) == PROGRAM
    assert PROGRAM.npu_mac_share == 30 / 40


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.fdna").write_bytes(b"nothing")
    with pytest.raises(ProgramError, match="no fauxdna program"):
        Program.load(tmp_path / "x.fdna")
    with pytest.raises(ProgramError, match=r"no file manifest\.json"):
        Program.load(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 1}')
    with pytest.raises(ProgramError, match="damaged"):
        Program.load(tmp_path)
