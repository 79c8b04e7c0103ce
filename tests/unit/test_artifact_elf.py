"""The ELF writer and reader against pyelftools, and address patching against arithmetic."""

from __future__ import annotations

import contextlib
import io
import struct

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from hypothesis import given
from hypothesis import strategies as st

from fauxdna.artifact import elf, elf_writer
from fauxdna.artifact.elf_writer import Page, Reference

TEXT = struct.pack("<6HI", 0xFFFF, 0, 0, 0, 64, 0, 0) + bytes.fromhex("0000000008000000 07000000ff000000".replace(" ", ""))
DATA = struct.pack("<8I", 0xFE000001, 0x10, 3, 4, 5, 6, 7, 8)
PAGE = Page(TEXT, DATA)
IMAGE = elf_writer.write(
    {0: [PAGE, PAGE], 4: [PAGE]},
    [Reference(0, 1, 32, "0", 64), Reference(4, 0, 32, ".ctrlpkt-weights", 0xFFFFFFF0), Reference(0, 0, 36, "0", 0)],
    b"constants",
    arguments=3,
    columns=3,
)


def test_pyelftools_reads_what_we_write() -> None:
    parsed = ELFFile(io.BytesIO(IMAGE))
    assert (parsed.header.e_ident.EI_OSABI, parsed.header.e_ident.EI_ABIVERSION) == (0x4B, 0x20)
    assert parsed.get_section_by_name(".ctrlpkt-weights.0").data() == b"constants"
    page = parsed.get_section_by_name(".ctrltext.0.1.0").data() + parsed.get_section_by_name(".ctrldata.0.1.0").data()
    assert page == (TEXT + DATA).ljust(8192, b"\0")
    symbols = [symbol.name for symbol in parsed.get_section_by_name(".symtab").iter_symbols()]
    assert symbols == ["", "_Z3DPUPcPcPc", "inst0"]
    relocations = parsed.get_section_by_name(".rela.dyn")
    assert isinstance(relocations, RelocationSection)
    # The page header's 16 bytes are not counted.
    assert [r["r_offset"] for r in relocations.iter_relocations()] == [16, 16, 20]


def test_our_reader_reads_what_we_write() -> None:
    parsed = elf.parse(IMAGE)
    kernel = parsed.kernel("DPU")
    assert (parsed.columns, kernel.arguments) == (3, 3)
    assert [(r.uc, r.offset, r.size) for r in kernel.ranges] == [(0, 0, 16384), (4, 16384, 8192)]
    assert kernel.constants == {".ctrlpkt-weights": b"constants"}
    assert [(p.offset, p.addend) for p in kernel.patches["0"]] == [(8192 + 32, 64), (36, 0)]


def test_patching_adds_the_address_and_keeps_other_bits() -> None:
    kernel = elf.parse(IMAGE).kernel()
    code = bytearray(kernel.code)
    patcher = elf.Patcher(kernel, code)
    for address in (0x1_2345_6780, 0x4000):
        patcher.bind("0", address)
        high, low = struct.unpack_from("<2I", code, 8192 + 32)
        # The BD held 1 << 32 | 0x10 below bit 57 and 0xFE above; the relocation adds 64 and XRT the shim's 0x80000000.
        assert high & 0xFE000000 == 0xFE000000
        assert (high & 0x1FFFFFF) << 32 | low == (1 << 32 | 0x10) + 64 + 0x80000000 + address
    patcher.bind(".ctrlpkt-weights", 0x1000, offset=False)
    high, low = struct.unpack_from("<2I", code, 16384 + 32)
    assert (high & 0x1FFFFFF) << 32 | low == (1 << 32 | 0x10) + 0xFFFFFFF0 + 0x1000


@given(st.integers(0, len(IMAGE) - 1), st.integers(0, 255), st.integers(0, len(IMAGE)))
def test_damaged_elfs_are_refused_by_name_or_read(at: int, value: int, length: int) -> None:
    damaged = bytearray(IMAGE[: length or len(IMAGE)])
    if at < len(damaged):
        damaged[at] = value
    with contextlib.suppress(elf.ElfError):
        elf.parse(damaged)


def test_other_files_are_refused() -> None:
    with pytest.raises(elf.ElfError, match="not an ELF"):
        elf.parse(b"")
    with pytest.raises(elf.ElfError, match="OSABI"):
        elf.parse(IMAGE[:7] + b"\x00" + IMAGE[8:])
    with pytest.raises(elf.ElfError, match="partial"):
        elf.parse(IMAGE[:8] + b"\x02" + IMAGE[9:])
