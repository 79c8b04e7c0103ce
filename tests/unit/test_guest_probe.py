"""The guest's C program reads and patches ELFs as our loader does, and no bytes make it crash."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from fauxdna.artifact import elf, elf_writer
from fauxdna.artifact.elf import Patcher
from fauxdna.artifact.elf_writer import Page, Reference

SOURCES = Path(str(files("fauxdna.vm") / "guest"))
MATMUL = Path(__file__).parent.parent / "device" / "data" / "matmul.elf"
"""Made by AMD's aiebu-asm: merged pages."""
PAGE = Page(struct.pack("<6HI", 0xFFFF, 0, 0, 0, 64, 0, 0) + bytes(16), struct.pack("<8I", 0xFE000001, 0x10, 3, 4, 5, 6, 7, 8))
OURS = elf_writer.write(
    {0: [PAGE, PAGE], 4: [PAGE]},
    [
        Reference(0, 1, 32, "0", 64),
        Reference(4, 0, 32, ".ctrlpkt-weights", 0xFFFFFFF0),
        Reference(0, 0, 36, "0", 0),
        Reference(0, 0, 44, "2", 8),
    ],
    b"constants!!!",
    arguments=3,
    columns=2,
)

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program with every check that the compiler has: warnings are errors, accesses out of bounds end it with status 77."""
    target = tmp_path_factory.mktemp("probe") / "probe"
    flags = ["-O1", "-g", "-std=gnu11", "-Wall", "-Wextra", "-Wno-sign-compare", "-Werror", "-fsanitize=address,undefined"]
    command = ["cc", *flags, "-fno-sanitize-recover=all", "-o", str(target), *map(str, sorted(SOURCES.glob("*.c")))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "cannot find" in done.stderr:
        pytest.skip("the C compiler has no sanitizers")
    assert done.returncode == 0, done.stderr
    return target


def dump(probe: Path, data: bytes, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "elf").write_bytes(data)
    options = {"ASAN_OPTIONS": "exitcode=77:detect_leaks=0:allocator_may_return_null=1", "UBSAN_OPTIONS": "exitcode=77"}
    command = [str(probe), "dump", str(folder / "elf"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", env=options, timeout=60, check=False)


@pytest.mark.parametrize("data", [OURS, MATMUL.read_bytes()], ids=["ours", "aiebu-asm's"])
def test_it_patches_the_same_bytes_as_our_loader(probe: Path, data: bytes, tmp_path: Path) -> None:
    done = dump(probe, data, tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    parsed = elf.parse(data)
    kernel = parsed.kernel()
    said = {words[0]: words[1:] for words in lines}
    assert (int(said["columns"][0]), int(said["arguments"][0])) == (parsed.columns, kernel.arguments)
    ranges = [(int(words[1]), int(words[2], 16)) for words in lines if words[0] == "uc"]
    assert ranges == [(part.uc, part.offset) for part in kernel.ranges]
    assert [words[2] for words in lines if words[0] == "constant"] == list(kernel.constants)
    assert set(kernel.patches) <= set(said)
    targets = {"": tmp_path / "code"} | {symbol: tmp_path / str(index) for index, symbol in enumerate(kernel.constants)}
    for target, file in targets.items():
        expected = bytearray(kernel.constants[target] if target else kernel.code)
        patcher = Patcher(kernel, expected, target)
        for symbol in kernel.patches:
            patcher.bind(symbol, int(said[symbol][0], 16))
        assert file.read_bytes() == bytes(expected)
    assert (tmp_path / "code").read_bytes() != kernel.code


@pytest.mark.parametrize("data", [OURS, MATMUL.read_bytes()], ids=["ours", "aiebu-asm's"])
def test_a_damaged_elf_is_taken_or_refused_with_a_sentence(probe: Path, data: bytes, tmp_path: Path) -> None:
    chance = random.Random(4711)
    sections = struct.unpack_from("<I", data, 32)[0]
    for attempt in range(120):
        damaged = bytearray(data)
        if attempt % 4 == 0:
            damaged = damaged[: chance.randrange(len(damaged))]
        for _ in range(chance.choice((1, 2, 8)) if damaged else 0):
            # Half of the damage goes into the ELF header and the section table, where it hurts.
            at = chance.choice((chance.randrange(len(damaged)), chance.randrange(52), sections + chance.randrange(400)))
            damaged[at % len(damaged)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        done = dump(probe, bytes(damaged), tmp_path)
        assert done.returncode in (0, 1), done.stderr
        assert done.returncode == 0 or done.stderr.startswith("fauxdna-probe: ")


@pytest.mark.parametrize(
    ("at", "value", "sentence"),
    [
        (0, b"X", "no ELF file"),
        (4, b"\x02", "no little-endian ELF32"),
        (7, b"\x45", "platform"),
        (8, b"\x02", "partial ELF"),
        (32, b"\xff\xff\xff\xff", "section table"),
        (50, b"\xff\xff", "section table makes no sense"),
    ],
)
def test_each_refusal_names_what_is_wrong(probe: Path, at: int, value: bytes, sentence: str, tmp_path: Path) -> None:
    done = dump(probe, OURS[:at] + value + OURS[at + len(value) :], tmp_path)
    assert (done.returncode, sentence in done.stderr) == (1, True), done.stderr
    with pytest.raises(elf.ElfError):
        elf.parse(OURS[:at] + value + OURS[at + len(value) :])
