"""Assembles ``examples/control_code`` with Debian's aiebu-asm and compares with the recordings that the unit tests run on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from _trixie import TrixieRoot
from elftools.elf.elffile import ELFFile

from fauxdna.abi import control_code

pytestmark = pytest.mark.trixie

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "control_code"
RECORDED = ROOT / "src" / "cert" / "tests" / "recorded"
INSTRUCTIONS = json.loads((ROOT / "tests" / "unit" / "data" / "control_code.json").read_text())


def assemble(root: TrixieRoot, name: str, folder: Path) -> dict[int, list[bytes]]:
    """The pages that aiebu-asm makes of an example for each micro-controller, each as long as its header says."""
    shutil.copytree(EXAMPLES, folder, dirs_exist_ok=True)
    arguments = [{"name": f"a{index}", "type": "char *", "offset": hex(8 * index)} for index in range(3)]
    instance = {"id": "inst0", "ctrl_code_file": f"{name}.asm"}
    kernel = {"name": "DPU", "arguments": arguments, "instance": [instance]}
    (folder / "config.json").write_text(json.dumps({"xrt-kernels": [kernel]}))
    options = ["-t", "aie4_config", "-j", "config.json", "-o", "out.elf", "-f", "disabledump"]
    done = root.run("aiebu-asm", *options, folder=folder)
    assert (folder / "out.elf").exists(), done.stdout + done.stderr
    pages: dict[int, list[bytes]] = {}
    with (folder / "out.elf").open("rb") as file:
        for section in ELFFile(file).iter_sections():
            if section.name.startswith(".ctrltext."):
                data = section.data()
                cut = (data[at : at + control_code.PAGE_SIZE] for at in range(0, len(data), control_code.PAGE_SIZE))
                uc = int(section.name.split(".")[2])
                pages[uc] = [page[: control_code.PAGE_HEADER.unpack(page).length] for page in cut]
    return pages


def recording(name: str) -> list[bytes]:
    """The pages the Rust tests run."""
    return [bytes.fromhex(line) for line in (RECORDED / f"{name}.hex").read_text().split()]


@pytest.mark.parametrize("name", ["jobs", "copy", "matmul"])
def test_recorded_programs_are_what_the_assembler_makes(name: str, trixie_root: TrixieRoot, tmp_path: Path) -> None:
    assert assemble(trixie_root, name, tmp_path) == {0: recording(name)}


def test_two_micro_controllers(trixie_root: TrixieRoot, tmp_path: Path) -> None:
    assert assemble(trixie_root, "barrier", tmp_path) == {0: recording("barrier"), 2: recording("barrier.2")}


def test_nested_code(trixie_root: TrixieRoot, tmp_path: Path) -> None:
    pages = assemble(trixie_root, "nested", tmp_path)[0]
    # The assembler adds pages of its own that save and restore the mem tiles; only the program's are recorded.
    assert pages[:5] == recording("nested")
    assert len(pages) == 8


def test_every_instruction(trixie_root: TrixieRoot, tmp_path: Path) -> None:
    assert assemble(trixie_root, "every_instruction", tmp_path)[0][0].hex() == INSTRUCTIONS["page"]
