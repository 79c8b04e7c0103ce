"""Writes an AIE4 full ELF in the form of aiebu's: control-code pages, constants, relocations, kernel symbols and notes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from ..abi import control_code, elf
from ..abi.elf import SectionType


@dataclass(frozen=True)
class Page:
    """One control-code page: header and instructions (``text``, padded to 16 bytes), then descriptors and their data."""

    text: bytes
    data: bytes


@dataclass(frozen=True)
class Reference:
    """``symbol``'s address, plus ``addend``, goes into the words at ``offset`` of page ``page`` of uC ``uc`` (schema ``schema``).

    ``offset`` counts from the page's first byte, header included.
    """

    uc: int
    page: int
    offset: int
    symbol: str
    addend: int
    schema: int = control_code.Relocation.SHIM_DMA_57_AIE4


@dataclass
class _Section:
    name: str
    type: SectionType
    data: bytes
    flags: int = 0
    address: int = 0
    link: int = 0
    info: int = 0
    align: int = 1
    entry_size: int = 0


@dataclass
class _Strings:
    data: bytearray = field(default_factory=lambda: bytearray(b"\0"))
    offsets: dict[str, int] = field(default_factory=dict)

    def add(self, text: str) -> int:
        """Offset of ``text``, added once."""
        if text not in self.offsets:
            self.offsets[text] = len(self.data)
            self.data += text.encode() + b"\0"
        return self.offsets[text]


def _note(kind: int, payload: bytes) -> bytes:
    return elf.NOTE.pack(owner_size=len(elf.NOTE_OWNER), size=len(payload), type=kind) + elf.NOTE_OWNER + payload


def _symbol(name: int, kind: int, bind: int, section: int) -> bytes:
    return elf.SYMBOL.pack(name=name, info=bind << 4 | kind, section=section)


def write(pages: dict[int, list[Page]], references: list[Reference], constants: bytes, *, arguments: int, columns: int) -> bytes:
    """The ELF of one kernel (``DPU:inst0``) with ``arguments`` buffer arguments, for a partition of ``columns`` columns.

    ``pages`` maps a uC index to its pages in order; ``constants`` becomes the weights section, which a loader gives a buffer of
    its own and whose symbol is :data:`fauxdna.abi.elf.WEIGHTS`.
    """
    sections = [_Section("", SectionType.NULL, b"", align=0)]
    sections.append(_Section(".shstrtab", SectionType.STRTAB, b""))
    strings = _Strings()
    signature = f"_Z{len(elf.KERNEL)}{elf.KERNEL}" + ("Pc" * arguments or "v")
    symtab = elf.SYMBOL.pack()
    symtab += _symbol(strings.add(signature), elf.SymbolType.FUNCTION, elf.BIND_WEAK, 0)
    symtab += _symbol(strings.add(elf.INSTANCE), elf.SymbolType.OBJECT, elf.BIND_WEAK, 1)
    sections.append(_Section(".strtab", SectionType.STRTAB, bytes(strings.data)))
    sections.append(_Section(".symtab", SectionType.SYMTAB, symtab, link=2, info=1, align=4, entry_size=elf.SYMBOL.size))
    text_index = _add_pages(sections, pages)
    end = control_code.PAGE_SIZE * len(text_index)
    members = list(range(4, len(sections)))
    if constants:
        members.append(len(sections))
        sections.append(
            _Section(f"{elf.WEIGHTS}.0", SectionType.PROGBITS, constants, elf.FLAG_WRITE | elf.FLAG_ALLOC, end, align=16)
        )
    loaded = range(4, len(sections))
    if references:
        _add_dynamic(sections, references, text_index)
    group = b"".join(index.to_bytes(4, "little") for index in (elf.GROUP_COMDAT, *members))
    sections.append(_Section(f"{elf.GROUP}.0", SectionType.GROUP, group, link=3, info=2, align=16, entry_size=4))
    configuration = _note(elf.NOTE_TYPE_CONFIGURATION, columns.to_bytes(4, "little"))
    sections.append(_Section(elf.NOTE_CONFIGURATION, SectionType.NOTE, configuration))
    digest = hashlib.sha256()
    for section in sections:
        digest.update(section.data)
    sections.append(_Section(elf.NOTE_UID, SectionType.NOTE, _note(elf.NOTE_TYPE_UID, digest.digest()[:16])))
    return _assemble(sections, loaded)


def _add_pages(sections: list[_Section], pages: dict[int, list[Page]]) -> dict[tuple[int, int], int]:
    """Adds the text and data sections; answers the text section's index of each (uC, page)."""
    indices: dict[tuple[int, int], int] = {}
    address = 0
    for uc in sorted(pages):
        for number, page in enumerate(pages[uc]):
            size = len(page.text) + len(page.data)
            if size > control_code.PAGE_SIZE:
                raise ValueError(f"page {number} of uC {uc} takes {size} bytes; a page holds {control_code.PAGE_SIZE}")
            data = page.data + bytes(control_code.PAGE_SIZE - size)
            indices[uc, number] = len(sections)
            suffix = f".{uc}.{number}.0"
            sections.append(
                _Section(
                    elf.TEXT + suffix,
                    SectionType.PROGBITS,
                    page.text,
                    elf.FLAG_ALLOC | elf.FLAG_EXECUTE,
                    address,
                    align=16,
                )
            )
            sections.append(
                _Section(
                    elf.DATA + suffix,
                    SectionType.PROGBITS,
                    data,
                    elf.FLAG_ALLOC | elf.FLAG_WRITE,
                    address + len(page.text),
                    align=16,
                )
            )
            address += control_code.PAGE_SIZE
    return indices


def _add_dynamic(sections: list[_Section], references: list[Reference], text_index: dict[tuple[int, int], int]) -> None:
    """.dynstr, .dynsym (one symbol for each patched page and argument), .rela.dyn, .dynamic."""
    strings = _Strings()
    symbols: dict[tuple[str, int], int] = {}
    symbol_bytes = [elf.SYMBOL.pack()]
    relocations = []
    for reference in references:
        key = (reference.symbol, text_index[reference.uc, reference.page])
        if key not in symbols:
            symbols[key] = len(symbol_bytes)
            symbol_bytes.append(_symbol(strings.add(reference.symbol), elf.SymbolType.OBJECT, elf.BIND_GLOBAL, key[1]))
        addend = reference.addend - (1 << 32) if reference.addend >> 31 else reference.addend
        relocations.append(
            elf.RELOCATION.pack(
                offset=reference.offset - control_code.PAGE_HEADER_SIZE,
                info=symbols[key] << 8 | reference.schema,
                addend=addend,
            )
        )
    first = len(sections)
    rela = b"".join(relocations)
    dynamic = b"".join(value.to_bytes(4, "little") for value in (elf.DYNAMIC_RELA, first + 2, elf.DYNAMIC_RELA_SIZE, len(rela)))
    sections += [
        _Section(".dynstr", SectionType.STRTAB, bytes(strings.data)),
        _Section(
            ".dynsym",
            SectionType.DYNSYM,
            b"".join(symbol_bytes),
            link=first,
            info=1,
            align=8,
            entry_size=elf.SYMBOL.size,
        ),
        _Section(".rela.dyn", SectionType.RELA, rela, link=first + 1, align=8, entry_size=elf.RELOCATION.size),
        _Section(".dynamic", SectionType.DYNAMIC, dynamic, link=first, align=8, entry_size=8),
    ]


def _assemble(sections: list[_Section], loaded: range) -> bytes:
    names = _Strings()
    name_offsets = [names.add(section.name) if section.name else 0 for section in sections]
    sections[1].data = bytes(names.data)
    programs = 1 + len(loaded)
    out = bytearray(elf.HEADER.size + programs * elf.SEGMENT.size)
    offsets = [0] * len(sections)
    # The loaded sections first, as aiebu-asm has them.
    for index in (*loaded, *(index for index in range(1, len(sections)) if index not in loaded)):
        section = sections[index]
        out += bytes(-len(out) % max(section.align, 1))
        offsets[index] = len(out)
        out += section.data
    out += bytes(-len(out) % 16)
    section_offset = len(out)
    for name, offset, section in zip(name_offsets, offsets, sections, strict=True):
        out += elf.SECTION.pack(
            name=name,
            type=section.type,
            flags=section.flags,
            address=section.address,
            offset=offset,
            size=len(section.data),
            link=section.link,
            info=section.info,
            align=section.align,
            entry_size=section.entry_size,
        )
    ident = [*elf.MAGIC, elf.CLASS_32, elf.DATA_LITTLE, elf.VERSION, elf.Platform.AIE4, elf.ABI_PAGES]
    header = elf.HEADER.pack(
        ident=ident + [0] * (elf.IDENT_SIZE - len(ident)),
        type=elf.TYPE_EXECUTABLE,
        machine=elf.MACHINE,
        version=elf.VERSION,
        program_offset=elf.HEADER.size,
        section_offset=section_offset,
        header_size=elf.HEADER.size,
        program_size=elf.SEGMENT.size,
        program_count=programs,
        section_size=elf.SECTION.size,
        section_count=len(sections),
        names_index=1,
    )
    segments = [
        elf.SEGMENT.pack(
            type=elf.SEGMENT_HEADERS,
            offset=elf.HEADER.size,
            file_size=programs * elf.SEGMENT.size,
            memory_size=programs * elf.SEGMENT.size,
            flags=elf.SEGMENT_READ,
        )
    ]
    for index in loaded:
        section = sections[index]
        access = elf.SEGMENT_EXECUTE if section.flags & elf.FLAG_EXECUTE else elf.SEGMENT_WRITE
        segments.append(
            elf.SEGMENT.pack(
                type=elf.SEGMENT_LOAD,
                offset=offsets[index],
                virtual=section.address,
                file_size=len(section.data),
                memory_size=len(section.data),
                flags=elf.SEGMENT_READ | access,
                align=section.align,
            )
        )
    head = header + b"".join(segments)
    out[: len(head)] = head
    return bytes(out)
