"""An ELF as text: control code page by page, the buffer descriptors it writes, and the tile programs it starts."""

from __future__ import annotations

from collections.abc import Iterator

from ..abi import array
from ..abi import control_code as abi
from ..abi.control_code import OPERATIONS, Opcode
from ..artifact import elf
from .disassemble_tile import describe_write, tile_program

_OPCODES = {int(opcode) for opcode in OPERATIONS}
_CHAINS = (Opcode.UC_DMA_WRITE_DES, Opcode.UC_DMA_WRITE_DES_SYNC)
_STARTS = (Opcode.START_JOB, Opcode.START_JOB_DEFERRED, Opcode.START_COND_JOB_PREEMPT)
_CHAIN_MAX = 1024


def disassemble(data: bytes) -> Iterator[str]:
    """Lines of text for all kernels of an ELF.

    Raises:
        ElfError: It is no AIE4 full ELF.
    """
    parsed = elf.parse(data)
    yield f".columns {parsed.columns}"
    for kernel in parsed.kernels:
        yield f".kernel {kernel.name}:{kernel.instance} ({kernel.arguments} arguments)"
        for symbol, constant in kernel.constants.items():
            yield f".constant {symbol} ({len(constant)} bytes)"
        patched = {p.offset: symbol for symbol, patches in kernel.patches.items() for p in patches if not p.target}
        for part in kernel.ranges:
            yield f".uc {part.uc}"
            yield from _Listing(kernel.code, part, patched).lines()


def operations(page: bytes) -> Iterator[tuple[int, Opcode, bytes]]:
    """The instructions of a page's bytes: offset after the header, opcode, bytes; up to EOF, an unknown opcode or the end."""
    at = abi.PAGE_HEADER_SIZE
    while at < len(page) and page[at] in _OPCODES:
        opcode = Opcode(page[at])
        size = OPERATIONS[opcode].size
        if at + size > len(page):
            return
        yield at - abi.PAGE_HEADER_SIZE, opcode, page[at : at + size]
        if opcode is Opcode.EOF:
            return
        at += size


class _Listing:
    """The control code of one uC."""

    def __init__(self, code: bytes, part: elf.CodeRange, patched: dict[int, str]) -> None:
        self._code = code
        self._part = part
        self._patched = patched
        self._programs: dict[int, bytearray] = {}
        self._shown: dict[bytes, str] = {}

    def lines(self) -> Iterator[str]:
        """Page after page."""
        for number in range(self._part.size // abi.PAGE_SIZE):
            start = self._part.offset + number * abi.PAGE_SIZE
            page = self._code[start : start + abi.PAGE_SIZE]
            header = abi.PAGE_HEADER.unpack(page)
            if header.magic != abi.PAGE_MAGIC:
                yield f".page {number}: no page header"
                continue
            yield f".page {number} ({header.length} bytes)"
            end = abi.PAGE_HEADER_SIZE
            for offset, opcode, instruction in operations(page):
                yield from self._operation(start, page, offset, opcode, instruction)
                end = offset + abi.PAGE_HEADER_SIZE + len(instruction)
            if end < len(page) and not self._ended(page, end):
                yield f"    {end - abi.PAGE_HEADER_SIZE:#06x}  unknown opcode {page[end]:#04x}"

    @staticmethod
    def _ended(page: bytes, end: int) -> bool:
        return page[end - OPERATIONS[Opcode.EOF].size] == Opcode.EOF

    def _operation(self, start: int, page: bytes, offset: int, opcode: Opcode, instruction: bytes) -> Iterator[str]:
        values = {
            operand.name: int.from_bytes(instruction[operand.offset : operand.offset + operand.size], "little")
            for operand in OPERATIONS[opcode].operands
        }
        indent = "" if opcode in (*_STARTS, Opcode.END_JOB, Opcode.EOF) else "  "
        text = ", ".join(f"{name} {value:#x}" for name, value in values.items())
        note = ""
        if opcode in (Opcode.WRITE_32, Opcode.MASK_WRITE_32):
            note = f"  ; {describe_write(values['address'], values['value'])}"
        yield f"    {offset:#06x}  {indent}{opcode.name} {text}".rstrip() + note
        if opcode in _CHAINS:
            yield from self._chain(start, page, values["bd"])
        if opcode is Opcode.WRITE_32:
            yield from self._enabled(values["address"], values["value"])

    def _chain(self, start: int, page: bytes, pointer: int) -> Iterator[str]:
        at = pointer + abi.PAGE_HEADER_SIZE
        for _ in range(_CHAIN_MAX):
            if at + abi.UC_BD.size > len(page):
                yield f"              descriptor at {at:#x} leaves the page"
                return
            bd = abi.UC_BD.unpack(page, at)
            address, size, source = bd.remote_low, 4 * bd.length, at + bd.local
            if source + size > len(page) or bd.external:
                yield f"              {address:#010x} <- {size} bytes from {bd.local:#x} beyond the page"
            else:
                yield from self._write(address, page[source : source + size], start + source)
            if not bd.next_bd:
                return
            at += abi.UC_BD.size

    def _write(self, address: int, data: bytes, place: int) -> Iterator[str]:
        tile, offset = address >> array.ROW_SHIFT << array.ROW_SHIFT, address & (1 << array.ROW_SHIFT) - 1
        row = address >> array.ROW_SHIFT & 31
        inside = offset - array.CORE_PROGRAM
        if row >= array.FIRST_CORE_ROW and 0 <= inside < array.CORE_PROGRAM_SIZE:
            memory = self._programs.setdefault(tile, bytearray())
            if inside == 0:
                memory.clear()
            if inside == len(memory):
                memory += data[: array.CORE_PROGRAM_SIZE - inside]
        yield f"              {address:#010x} <- {len(data)} bytes"
        for line in describe_block(address, data):
            yield f"                {line}"
        symbols = [self._patched[at] for at in range(place, place + len(data), 4) if at in self._patched]
        if symbols:
            yield f"                patched with {', '.join(symbols)}"

    def _enabled(self, address: int, value: int) -> Iterator[str]:
        tile, offset = address >> array.ROW_SHIFT << array.ROW_SHIFT, address & (1 << array.ROW_SHIFT) - 1
        if offset != array.CORE_CONTROL or not value & array.CORE_CONTROL_ENABLE or tile not in self._programs:
            return
        program = bytes(self._programs[tile])
        name = f"column {address >> array.COLUMN_SHIFT} row {address >> array.ROW_SHIFT & 31}"
        if program in self._shown:
            yield f"              tile program as at {self._shown[program]}"
            return
        self._shown[program] = name
        for line in tile_program(program):
            yield f"              | {line}"


def describe_block(address: int, data: bytes) -> Iterator[str]:
    """What a block write puts into registers that have a form: buffer descriptors."""
    row, offset = address >> array.ROW_SHIFT & 31, address & (1 << array.ROW_SHIFT) - 1
    if row == array.SHIM_ROW:
        form, stride, first = array.SHIM_BD_WORDS, array.SHIM_BD_STRIDE, array.SHIM_BD
        size = array.SHIM_BDS * stride
    elif row == array.MEM_ROW:
        form, stride, first = array.MEM_BD_WORDS, array.MEM_BD_STRIDE, array.MEM_BD_S2MM
        size = array.MEM_BD_MM2S - array.MEM_BD_S2MM + array.MEM_MM2S_PER_HALF * array.MEM_CHANNEL_BD_STRIDE
    else:
        form, stride, first = array.CORE_BD_WORDS, array.CORE_BD_STRIDE, array.CORE_BD
        size = array.CORE_BDS * stride
    inside = offset % array.HALF_STRIDE - first if row <= array.MEM_ROW else offset - first
    if not 0 <= inside < size or inside % stride:
        return
    for at in range(0, len(data) - form.size + 1, stride):
        fields = form.unpack(data, at)
        text = ", ".join(f"{name} {value:#x}" for name, value in fields.items() if value)
        yield f"{form.name}: {text}"
