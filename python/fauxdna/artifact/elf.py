"""Reads and patches AIE4 full ELFs, those of our compiler and those of aiebu-asm alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..abi import array, control_code, elf
from ..abi._declare import Record
from ..abi.control_code import Relocation
from ..abi.elf import SectionType
from ..errors import InvalidInput

SIZE_MAX = 1 << 30
"""Bytes of the largest ELF that is read."""
SECTIONS_MAX = 65535
_SCHEMAS = frozenset(int(schema) for schema in Relocation)


class ElfError(InvalidInput):
    """The bytes are not an AIE4 full ELF; the message names the part and the limit it breaks."""


@dataclass(frozen=True)
class Patch:
    """An address goes into the words at byte ``offset`` of ``target`` ("" is the control code, else a constant's symbol)."""

    target: str
    offset: int
    schema: int
    addend: int


@dataclass(frozen=True)
class CodeRange:
    """The control code of one uC within :attr:`Kernel.code`."""

    uc: int
    offset: int
    size: int


@dataclass(frozen=True)
class Kernel:
    """One kernel instance: control code of all its uCs, constants, and what has to be patched."""

    name: str
    instance: str
    arguments: int
    code: bytes
    """Whole pages, uC after uC, as one buffer holds them."""
    ranges: tuple[CodeRange, ...]
    """In order of uC; uCs without code are left out."""
    constants: Mapping[str, bytes]
    """Content of each ``.ctrlpkt-*`` section by its symbol; each needs a buffer."""
    patches: Mapping[str, tuple[Patch, ...]]
    """By symbol: an argument's index in decimal, a constant's symbol, ``scratch-pad-mem`` or ``control-code-<uc>``."""


@dataclass(frozen=True)
class Elf:
    """A parsed ELF."""

    columns: int
    kernels: tuple[Kernel, ...]

    def kernel(self, name: str = "") -> Kernel:
        """The kernel called ``name`` (``KERNEL:INSTANCE``, or ``KERNEL`` if it has one instance); by default the only one."""
        found = [k for k in self.kernels if name in ("", k.name, f"{k.name}:{k.instance}")]
        if len(found) != 1:
            known = ", ".join(f"{k.name}:{k.instance}" for k in self.kernels)
            raise ElfError(f"{len(found)} kernels are called {name!r}; the ELF has {known or 'none'}")
        return found[0]


@dataclass(frozen=True)
class _Section:
    index: int
    name: str
    header: Record
    data: bytes


def parse(data: bytes | bytearray | memoryview) -> Elf:
    """Reads an ELF.

    Raises:
        ElfError: It is no ELF32 of an AIE4 platform, not a full ELF, or one of its tables leaves the file.
    """
    if len(data) > SIZE_MAX:
        raise ElfError(f"the ELF has {len(data)} bytes; at most {SIZE_MAX} are read")
    data = bytes(data)
    header = _header(data)
    version = header.elements("ident")[elf.IDENT_ABI_VERSION]
    sections = _sections(data, header)
    by_name = {section.name: section for section in sections}
    columns = _columns(by_name)
    kernels = [_kernel(section, sections, by_name, version) for section in sections if section.header.type == SectionType.GROUP]
    if not kernels:
        raise ElfError("the ELF has no .group section, so no kernel; make it with aiebu-asm -t aie4_config")
    return Elf(columns, tuple(kernels))


def _header(data: bytes) -> Record:
    if len(data) < elf.HEADER.size or data[:4] != elf.MAGIC:
        raise ElfError("not an ELF file", "make one with fauxdna compile, or with aiebu-asm -t aie4_config")
    if data[4] != elf.CLASS_32 or data[5] != elf.DATA_LITTLE:
        raise ElfError("not a little-endian ELF32 file")
    platform, version = data[elf.IDENT_OSABI], data[elf.IDENT_ABI_VERSION]
    if platform not in elf.PLATFORMS:
        known = ", ".join(f"{p.name} {p.value:#x}" for p in elf.PLATFORMS)
        raise ElfError(f"the ELF is for platform (OSABI) {platform:#x}; this device takes {known}")
    if version < elf.ABI_GROUPS:
        raise ElfError(f"the ELF has ABI version {version:#x}, a partial ELF; make a full one with aiebu-asm -t aie4_config")
    return elf.HEADER.unpack(data)


def _text(table: bytes, offset: int) -> str:
    end = table.find(b"\0", offset)
    if not 0 <= offset < len(table) or end < 0:
        raise ElfError(f"name offset {offset} lies outside its string table of {len(table)} bytes")
    return table[offset:end].decode("latin-1")


def _sections(data: bytes, header: Record) -> list[_Section]:
    count, at = header.section_count, header.section_offset
    if header.section_size != elf.SECTION.size or at + count * elf.SECTION.size > len(data):
        raise ElfError(f"the table of {count} sections at {at:#x} leaves the file of {len(data)} bytes")
    if header.names_index >= count:
        raise ElfError(f"section name table {header.names_index} is not one of the {count} sections")
    headers = [elf.SECTION.unpack(data, at + index * elf.SECTION.size) for index in range(count)]
    names = headers[header.names_index]
    table = data[names.offset : names.offset + names.size]
    sections = []
    for index, section in enumerate(headers):
        if section.type != SectionType.NULL and section.offset + section.size > len(data):
            raise ElfError(f"section {index} ({section.size} bytes at {section.offset:#x}) leaves the file")
        content = data[section.offset : section.offset + section.size] if section.type != SectionType.NULL else b""
        sections.append(_Section(index, _text(table, section.name) if table else "", section, content))
    return sections


def _columns(by_name: Mapping[str, _Section]) -> int:
    section = by_name.get(elf.NOTE_CONFIGURATION)
    if section is None:
        raise ElfError(f"the ELF has no {elf.NOTE_CONFIGURATION}, so it is no full ELF; use aiebu-asm -t aie4_config")
    if len(section.data) < elf.NOTE.size:
        raise ElfError(f"{elf.NOTE_CONFIGURATION} is cut short")
    note = elf.NOTE.unpack(section.data)
    at = elf.NOTE.size + (note.owner_size + 3) // 4 * 4
    columns = int.from_bytes(section.data[at : at + 4], "little")
    if not 1 <= columns <= array.COLUMNS + 1:
        raise ElfError(f"the ELF asks for {columns} columns; a die has {array.COLUMNS}")
    # aiebu-asm notes one column too many where the assembly has no .partition directive.
    return min(columns, array.COLUMNS)


def _symbol(table: _Section | None, strings: _Section | None, index: int) -> tuple[Record, str]:
    if table is None or strings is None:
        raise ElfError("the ELF has no symbol table")
    if (index + 1) * elf.SYMBOL.size > len(table.data):
        raise ElfError(f"symbol {index} lies outside {table.name}")
    symbol = elf.SYMBOL.unpack(table.data, index * elf.SYMBOL.size)
    return symbol, _text(strings.data, symbol.name)


def _names(group: _Section, by_name: Mapping[str, _Section]) -> tuple[str, str, int]:
    """Kernel, instance and number of arguments of a group."""
    table, strings = by_name.get(".symtab"), by_name.get(".strtab")
    instance, instance_name = _symbol(table, strings, group.header.info)
    _, mangled = _symbol(table, strings, instance.section)
    length = mangled[2:].rstrip("cvPi")
    digits = "".join(c for c in mangled[2:6] if c.isdigit())
    if not mangled.startswith("_Z") or not digits or not length:
        raise ElfError(f"kernel symbol {mangled[:40]!r} is no mangled name")
    start = 2 + len(digits)
    name = mangled[start : start + int(digits)]
    return name, instance_name, mangled[start + int(digits) :].count("Pc") + mangled[start + int(digits) :].count("Pv")


def _uc_and_page(name: str, merged: bool) -> tuple[int, int]:
    parts = name.split(".")[2:]
    try:
        uc = int(parts[0])
        page = 0 if merged or len(parts) < 2 else int(parts[1])
    except (ValueError, IndexError):
        raise ElfError(f"section {name} names no uC and page") from None
    if not 0 <= uc < control_code.MAX_UC:
        raise ElfError(f"section {name} is for uC {uc}; a die has {control_code.MAX_UC}")
    if not 0 <= page < SECTIONS_MAX:
        raise ElfError(f"section {name}: a uC has at most {SECTIONS_MAX} pages")
    return uc, page


def _constant_symbol(name: str) -> str:
    head, dot, _ = name.rpartition(".")
    return head if dot and head else name


def _kernel(group: _Section, sections: list[_Section], by_name: Mapping[str, _Section], version: int) -> Kernel:
    merged = version == elf.ABI_MERGED
    name, instance, arguments = _names(group, by_name)
    members = set()
    for at in range(4, len(group.data) - 3, 4):
        index = int.from_bytes(group.data[at : at + 4], "little")
        if index >= len(sections):
            raise ElfError(f"{group.name} names section {index} of {len(sections)}")
        members.add(index)
    parts: dict[int, dict[int, list[bytes]]] = {}
    constants = {}
    for index in sorted(members):
        section = sections[index]
        if section.name.startswith(elf.CONTROL_PACKETS):
            constants[_constant_symbol(section.name)] = section.data
        elif section.name.startswith((elf.TEXT, elf.DATA)):
            uc, page = _uc_and_page(section.name, merged)
            text, data = parts.setdefault(uc, {}).setdefault(page, [b"", b""])
            parts[uc][page] = [section.data, data] if section.name.startswith(elf.TEXT) else [text, section.data]
        elif section.name.startswith(elf.PAD):
            raise ElfError(f"section {section.name}: pads are not supported; assemble with a newer aiebu-asm, which has none")
    code = bytearray()
    ranges: dict[int, CodeRange] = {}
    for uc in sorted(parts):
        start = len(code)
        for page in sorted(parts[uc]):
            text, data = parts[uc][page]
            if not merged:
                if len(text) + len(data) > control_code.PAGE_SIZE:
                    raise ElfError(f"page {page} of uC {uc} is larger than {control_code.PAGE_SIZE} bytes")
                if page * control_code.PAGE_SIZE != len(code) - start:
                    raise ElfError(f"page {page} of uC {uc} comes before page {(len(code) - start) // control_code.PAGE_SIZE}")
            code += text + data
            code += bytes(-len(code) % control_code.PAGE_SIZE)
        ranges[uc] = CodeRange(uc, start, len(code) - start)
    if not code:
        raise ElfError(f"kernel {name}:{instance} has no control code")
    patches = _patches(sections, by_name, members, ranges, len(code), constants, version)
    return Kernel(name, instance, arguments, bytes(code), tuple(ranges.values()), constants, patches)


def _relocations(by_name: Mapping[str, _Section]) -> Iterator[tuple[Record, Record, str]]:
    table = by_name.get(".rela.dyn")
    if table is None:
        return
    for at in range(0, len(table.data) - elf.RELOCATION.size + 1, elf.RELOCATION.size):
        relocation = elf.RELOCATION.unpack(table.data, at)
        symbol, name = _symbol(by_name.get(".dynsym"), by_name.get(".dynstr"), relocation.info >> 8)
        yield relocation, symbol, name


def _patches(
    sections: list[_Section],
    by_name: Mapping[str, _Section],
    members: set[int],
    ranges: Mapping[int, CodeRange],
    code_size: int,
    constants: Mapping[str, bytes],
    version: int,
) -> dict[str, tuple[Patch, ...]]:
    found: dict[str, list[Patch]] = {}
    for relocation, symbol, name in _relocations(by_name):
        if symbol.section not in members:
            continue
        where = sections[symbol.section].name
        schema, addend = relocation.info & 0xFF, relocation.addend & 0xFFFFFFFF
        if version == elf.ABI_PACKED_ADDEND:
            schema, addend = addend & elf.ADDEND_SCHEMA_MASK, addend >> elf.ADDEND_SHIFT
        if where.startswith(elf.CONTROL_PACKETS):
            target, offset = _constant_symbol(where), relocation.offset
            size = len(constants[target])
        else:
            uc, page = _uc_and_page(where, version == elf.ABI_MERGED)
            target = ""
            offset = page * control_code.PAGE_SIZE + relocation.offset + control_code.PAGE_HEADER_SIZE
            if uc not in ranges or offset >= ranges[uc].size:
                raise ElfError(f"a relocation of {name!r} at {offset:#x} lies outside the code of uC {uc}")
            offset += ranges[uc].offset
            size = code_size
        if schema == Relocation.SCALAR_32:
            continue
        form = elf.ADDRESS_FORMS.get(Relocation(schema)) if schema in _SCHEMAS else None
        if form is None:
            raise ElfError(f"a relocation of {name!r} has schema {schema}, for which AIE4 has no patch")
        words = max(form.low, *(word for word, _, _ in form.high)) + 1
        if offset % 4 or offset + 4 * words > size:
            raise ElfError(f"a relocation of {name!r} at {offset:#x} leaves its {size} bytes, or is not aligned to 4")
        found.setdefault(name, []).append(Patch(target, offset, schema, addend))
    return {name: tuple(patches) for name, patches in found.items()}


class Patcher:
    """Writes addresses into one target's bytes (a kernel's control code, or one constant), as often as they change.

    The words' original content is kept, so binding a symbol again replaces its earlier address.
    """

    def __init__(self, kernel: Kernel, buffer: memoryview | bytearray | npt.NDArray[np.uint8], target: str = "") -> None:
        """``buffer`` holds the target's bytes, already filled in, and is patched in place."""
        self._words = np.frombuffer(buffer, dtype="<u4", count=len(kernel.constants[target] if target else kernel.code) // 4)
        original = np.frombuffer(kernel.constants[target] if target else kernel.code, dtype="<u4", count=self._words.size)
        self._sites: dict[str, list[_Sites]] = {}
        for symbol, patches in kernel.patches.items():
            for schema in sorted({patch.schema for patch in patches if patch.target == target}):
                chosen = [patch for patch in patches if patch.schema == schema and patch.target == target]
                self._sites.setdefault(symbol, []).append(_Sites(chosen, elf.ADDRESS_FORMS[Relocation(schema)], original))

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols with an address in this target."""
        return tuple(self._sites)

    def bind(self, symbol: str, address: int, *, offset: bool = True) -> None:
        """Patches ``address`` in for ``symbol``, if the target refers to it.

        ``offset``: add :data:`fauxdna.abi.array.SHIM_ADDRESS_OFFSET` to shim addresses, as XRT does.
        """
        for sites in self._sites.get(symbol, ()):
            sites.write(self._words, address, offset)


class _Sites:
    """All places of one symbol and schema, with the addresses that were there at first."""

    def __init__(self, patches: list[Patch], form: elf.AddressForm, original: npt.NDArray[np.uint32]) -> None:
        self._form = form
        self._at = np.array([patch.offset // 4 for patch in patches], dtype=np.int64)
        base = np.array([patch.addend for patch in patches], dtype=np.uint64)
        if not form.replace:
            base = base + original[self._at + form.low]
            for word, bits, shift in form.high:
                part = original[self._at + word].astype(np.uint64) & np.uint64((1 << bits) - 1)
                base = base + (part << np.uint64(shift))
        self._base = base

    def write(self, words: npt.NDArray[np.uint32], address: int, offset: bool) -> None:
        """Writes base + address into ``words``."""
        added = address + (array.SHIM_ADDRESS_OFFSET if offset and self._form.offset else 0)
        value = self._base + np.uint64(added & (1 << 64) - 1)
        words[self._at + self._form.low] = value.astype(np.uint32)
        for word, bits, shift in self._form.high:
            mask = np.uint32((1 << bits) - 1)
            part = (value >> np.uint64(shift)).astype(np.uint32) & mask
            words[self._at + word] = words[self._at + word] & ~mask | part
