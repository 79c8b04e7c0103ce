"""AMD's assembler still makes the recorded ELF of the recorded source."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _trixie import TrixieRoot

DEVICE_TESTS = Path(__file__).parent.parent / "device"
sys.path.insert(0, str(DEVICE_TESTS))
from _matmul import CONFIGURATION, DATA  # noqa: E402


@pytest.mark.trixie
def test_aiebu_asm_makes_the_recorded_elf(trixie_root: TrixieRoot, tmp_path: Path) -> None:
    shutil.copy(DATA / "matmul.asm", tmp_path)
    (tmp_path / "matmul.json").write_text(json.dumps(CONFIGURATION))
    arguments = ["-t", "aie4_config", "-j", "matmul.json", "-o", "matmul.elf", "-f", "disabledump"]
    done = trixie_root.run("aiebu-asm", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "matmul.elf").read_bytes() == (DATA / "matmul.elf").read_bytes()
