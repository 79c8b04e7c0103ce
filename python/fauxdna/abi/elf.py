"""The ELF container of AIE4 control code: identification, section names, symbols, relocations and notes.

Source: what Debian's aiebu-asm 2.25 writes, and what XRT 2.25 reads (``core/common/api/xrt_elf.cpp``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ._declare import Field, Struct
from .control_code import Relocation

_ELF = "System V ABI, ELF32"
_XRT = "XRT 2.25 xrt_elf.cpp"

MAGIC: Final = b"\x7fELF"
CLASS_32: Final = 1
DATA_LITTLE: Final = 1
VERSION: Final = 1
TYPE_EXECUTABLE: Final = 2
MACHINE: Final = 1
"""e_machine of aiebu's ELFs (nominally the WE 32100)."""


class Platform(IntEnum):
    """EI_OSABI; XRT ``xrt::elf::platform``."""

    AIE2P = 0x45
    AIE2PS_LEGACY = 0x46
    AIE2PS = 0x40
    AIE4 = 0x4B
    AIE4A = 0x56
    AIE4Z = 0x69


PLATFORMS: Final = (Platform.AIE2PS_LEGACY, Platform.AIE4, Platform.AIE4A, Platform.AIE4Z)
"""Platforms whose control code has AIE4's form; aiebu-asm marks its plain ``-t aie4`` output with the legacy one."""
ABI_PAGES: Final = 0x20
"""EI_ABIVERSION 2.0: a ``.ctrltext`` and a ``.ctrldata`` section for each page."""
ABI_MERGED: Final = 0x21
"""EI_ABIVERSION 2.1: one ``.ctrltext`` section for each uC holds whole pages (no ``.ctrldata``)."""
ABI_GROUPS: Final = 0x03
"""From this version on, sections belong to ``.group`` sections; relocation types are schemas."""
ABI_PACKED_ADDEND: Final = 0x01
"""In this version a relocation's schema is in the low bits of its addend."""
ADDEND_SCHEMA_MASK: Final = 0xF
ADDEND_SHIFT: Final = 4


class SectionType(IntEnum):
    """sh_type."""

    NULL = 0
    PROGBITS = 1
    SYMTAB = 2
    STRTAB = 3
    RELA = 4
    DYNAMIC = 6
    NOTE = 7
    DYNSYM = 11
    GROUP = 17


class SymbolType(IntEnum):
    """Low nibble of st_info."""

    NONE = 0
    OBJECT = 1
    FUNCTION = 2


BIND_GLOBAL: Final = 1
BIND_WEAK: Final = 2
FLAG_WRITE: Final = 1
FLAG_ALLOC: Final = 2
FLAG_EXECUTE: Final = 4
SEGMENT_LOAD: Final = 1
SEGMENT_HEADERS: Final = 6
SEGMENT_READ: Final = 4
SEGMENT_WRITE: Final = 2
SEGMENT_EXECUTE: Final = 1
GROUP_COMDAT: Final = 1
DYNAMIC_RELA: Final = 7
DYNAMIC_RELA_SIZE: Final = 8

TEXT: Final = ".ctrltext"
DATA: Final = ".ctrldata"
CONTROL_PACKETS: Final = ".ctrlpkt"
"""XRT puts each section whose name contains this in a buffer of its own, and patches the buffer's address in wherever a
relocation names the section without its last dotted part."""
WEIGHTS: Final = ".ctrlpkt-weights"
"""Symbol of the constants; the section is this, a dot and the group number."""
PAD: Final = ".pad"
GROUP: Final = ".group"
NOTE_CONFIGURATION: Final = ".note.xrt.configuration"
NOTE_UID: Final = ".note.xrt.UID"
NOTE_OWNER: Final = b"XRT\0"
NOTE_TYPE_UID: Final = 4
NOTE_TYPE_CONFIGURATION: Final = 6
SCRATCH_PAD_SYMBOL: Final = "scratch-pad-mem"
CONTROL_CODE_SYMBOL: Final = "control-code-"
SCRATCH_PAD_SIZE: Final = 3 << 20
"""Per column."""
KERNEL: Final = "DPU"
INSTANCE: Final = "inst0"

IDENT_SIZE: Final = 16
HEADER = Struct(
    "elf_header",
    52,
    [
        Field("ident", "u8", count=IDENT_SIZE),
        Field("type", "u16"),
        Field("machine", "u16"),
        Field("version", "u32"),
        Field("entry", "u32"),
        Field("program_offset", "u32"),
        Field("section_offset", "u32"),
        Field("flags", "u32"),
        Field("header_size", "u16"),
        Field("program_size", "u16"),
        Field("program_count", "u16"),
        Field("section_size", "u16"),
        Field("section_count", "u16"),
        Field("names_index", "u16"),
    ],
    source=_ELF,
)
IDENT_OSABI: Final = 7
IDENT_ABI_VERSION: Final = 8
SECTION = Struct(
    "elf_section",
    40,
    [
        Field("name", "u32"),
        Field("type", "u32"),
        Field("flags", "u32"),
        Field("address", "u32"),
        Field("offset", "u32"),
        Field("size", "u32"),
        Field("link", "u32"),
        Field("info", "u32"),
        Field("align", "u32"),
        Field("entry_size", "u32"),
    ],
    source=_ELF,
)
SEGMENT = Struct(
    "elf_segment",
    32,
    [
        Field("type", "u32"),
        Field("offset", "u32"),
        Field("virtual", "u32"),
        Field("physical", "u32"),
        Field("file_size", "u32"),
        Field("memory_size", "u32"),
        Field("flags", "u32"),
        Field("align", "u32"),
    ],
    source=_ELF,
)
SYMBOL = Struct(
    "elf_symbol",
    16,
    [
        Field("name", "u32"),
        Field("value", "u32"),
        Field("size", "u32"),
        Field("info", "u8"),
        Field("other", "u8"),
        Field("section", "u16", doc="of the instance's OBJECT symbol in .symtab: the index of its kernel's FUNC symbol"),
    ],
    source=_XRT,
)
RELOCATION = Struct(
    "elf_relocation",
    12,
    [Field("offset", "u32"), Field("info", "u32", doc="symbol << 8 | schema"), Field("addend", "i32")],
    source=_ELF,
)
NOTE = Struct(
    "elf_note",
    12,
    [Field("owner_size", "u32"), Field("size", "u32"), Field("type", "u32")],
    source=_ELF,
)


@dataclass(frozen=True)
class AddressForm:
    """Where a relocation schema keeps an address: ``low`` is the word with bits 31:0, ``high`` (word, bits, first address bit).

    ``offset``: XRT adds the shim address offset; ``replace``: the words' old content is not added.
    """

    low: int
    high: tuple[tuple[int, int, int], ...]
    offset: bool = False
    replace: bool = False


ADDRESS_FORMS: Final = {
    Relocation.SHIM_DMA_57: AddressForm(1, ((2, 16, 32), (8, 9, 48))),
    Relocation.CONTROL_PACKET_48: AddressForm(2, ((3, 12, 32),), offset=True),
    Relocation.SHIM_DMA_48: AddressForm(1, ((2, 16, 32),), offset=True),
    Relocation.SHIM_DMA_57_AIE4: AddressForm(1, ((0, 25, 32),), offset=True),
    Relocation.CONTROL_PACKET_57: AddressForm(2, ((3, 12, 32),)),
    Relocation.ADDRESS_64: AddressForm(0, ((1, 32, 32),), replace=True),
    Relocation.CONTROL_PACKET_57_AIE4: AddressForm(2, ((1, 25, 32),), offset=True),
}
"""XRT 2.25 ``elf_patcher.cpp``. It has no form for UC_DMA_REMOTE_POINTER, and patches no SCALAR_32 in AIE4 control code."""
