"""Control code of one micro-controller: operations and uC-DMA transfers, laid out on pages."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..abi import control_code as abi
from ..abi.control_code import OPERATIONS, Opcode
from ..artifact.elf_writer import Page, Reference

_JOB_HEAD = OPERATIONS[Opcode.START_JOB].size
_TAIL = OPERATIONS[Opcode.END_JOB].size + OPERATIONS[Opcode.EOF].size
_ALIGN = 16
_WORDS_MAX = abi.UC_BD.fields["length"].mask
_SYNC = OPERATIONS[Opcode.UC_DMA_WRITE_DES_SYNC].size


@dataclass(frozen=True)
class Patch:
    """The address of ``symbol`` is added to the shim BD at byte ``offset`` of a transfer's data."""

    offset: int
    symbol: str


@dataclass(frozen=True)
class Transfer:
    """Words written to consecutive registers or tile memory from ``address`` on."""

    address: int
    data: bytes
    patches: tuple[Patch, ...] = ()


def operation(opcode: Opcode, **operands: int) -> bytes:
    """One instruction's bytes."""
    form = OPERATIONS[opcode]
    data = bytearray(form.size)
    data[0] = opcode
    for operand in form.operands:
        value = operands.pop(operand.name, 0)
        data[operand.offset : operand.offset + operand.size] = value.to_bytes(operand.size, "little")
    if operands:
        raise TypeError(f"{opcode.name} has no operand {', '.join(operands)}")
    return bytes(data)


def write(address: int, value: int) -> bytes:
    """WRITE_32."""
    return operation(Opcode.WRITE_32, address=address, value=value)


@dataclass
class _Draft:
    """A page being filled."""

    operations: bytearray = field(default_factory=bytearray)
    chains: list[tuple[int, list[Transfer]]] = field(default_factory=list)
    """Offset of each UC_DMA_WRITE_DES_SYNC among the operations, and its transfers."""
    blocks: set[bytes] = field(default_factory=set)
    size: int = abi.PAGE_HEADER_SIZE + _JOB_HEAD + _TAIL + _ALIGN

    def cost(self, transfers: Iterable[Transfer]) -> int:
        """Bytes that the transfers add, shared data counted once."""
        total, fresh = 0, set()
        for transfer in transfers:
            total += abi.UC_BD.size
            if transfer.patches or (transfer.data not in self.blocks and transfer.data not in fresh):
                total += len(transfer.data)
                fresh.add(transfer.data)
        return total


class ControlCode:
    """Collects one micro-controller's operations in order; each page holds one job."""

    def __init__(self, uc: int) -> None:
        self._uc = uc
        self._draft = _Draft()
        self._pages: list[Page] = []
        self._references: list[Reference] = []

    def operate(self, operations: bytes) -> None:
        """Adds operations that must stay together."""
        if self._draft.size + len(operations) > abi.PAGE_SIZE:
            self._close()
        self._draft.operations += operations
        self._draft.size += len(operations)

    def transfer(self, transfers: Iterable[Transfer]) -> None:
        """Adds uC-DMA transfers and waits for them; they are spread over pages as needed."""
        chain: list[Transfer] = []
        for transfer in self._pieces(transfers):
            cost = self._draft.cost([*chain, transfer]) + _SYNC
            if self._draft.size + cost > abi.PAGE_SIZE:
                self._chain(chain)
                self._close()
                chain = []
            chain.append(transfer)
        self._chain(chain)

    @staticmethod
    def _pieces(transfers: Iterable[Transfer]) -> Iterable[Transfer]:
        limit = abi.PAGE_SIZE // 2
        for transfer in transfers:
            if len(transfer.data) <= limit or transfer.patches:
                yield transfer
                continue
            for start in range(0, len(transfer.data), limit):
                yield Transfer(transfer.address + start, transfer.data[start : start + limit])

    def _chain(self, chain: list[Transfer]) -> None:
        if not chain:
            return
        draft = self._draft
        draft.size += draft.cost(chain) + _SYNC
        draft.blocks.update(transfer.data for transfer in chain if not transfer.patches)
        draft.chains.append((len(draft.operations), chain))
        draft.operations += bytes(_SYNC)

    def _close(self) -> None:
        draft, self._draft = self._draft, _Draft()
        text_size = abi.PAGE_HEADER_SIZE + _JOB_HEAD + len(draft.operations) + _TAIL
        text_size += -text_size % _ALIGN
        descriptors = sum(len(chain) for _, chain in draft.chains)
        data = bytearray()
        bds = bytearray()
        shared: dict[bytes, int] = {}
        page = len(self._pages)
        at = text_size
        for offset, chain in draft.chains:
            pointer = at - abi.PAGE_HEADER_SIZE
            draft.operations[offset : offset + _SYNC] = operation(Opcode.UC_DMA_WRITE_DES_SYNC, bd=pointer)
            for index, transfer in enumerate(chain):
                place = None if transfer.patches else shared.get(transfer.data)
                if place is None:
                    place = text_size + abi.UC_BD.size * descriptors + len(data)
                    data += transfer.data
                    if not transfer.patches:
                        shared[transfer.data] = place
                for patch in transfer.patches:
                    self._references.append(Reference(self._uc, page, place + patch.offset, patch.symbol, 0))
                bds += abi.UC_BD.pack(
                    length=len(transfer.data) // 4,
                    next_bd=int(index + 1 < len(chain)),
                    local_relative=1,
                    local=place - at,
                    remote_low=transfer.address,
                )
                at += abi.UC_BD.size
        job = operation(Opcode.START_JOB, job=page, size=_JOB_HEAD + len(draft.operations) + OPERATIONS[Opcode.END_JOB].size)
        text = job + draft.operations + operation(Opcode.END_JOB) + operation(Opcode.EOF)
        text += bytes([abi.FILLER]) * (text_size - abi.PAGE_HEADER_SIZE - len(text))
        self._pages.append(Page(text, bytes(bds + data)))

    def finish(self) -> tuple[list[Page], list[Reference]]:
        """The pages, with their headers, and the addresses to patch in."""
        if self._draft.operations or not self._pages:
            self._close()
        lengths = [abi.PAGE_HEADER_SIZE + len(page.text) + len(page.data) for page in self._pages]
        pages = []
        for number, (page, length) in enumerate(zip(self._pages, lengths, strict=True)):
            following = lengths[number + 1] if number + 1 < len(lengths) else 0
            header = abi.PAGE_HEADER.pack(magic=abi.PAGE_MAGIC, page=number, length=length, next_length=following)
            pages.append(Page(header + page.text, page.data))
        return pages, self._references


def words(*values: int) -> bytes:
    """Little-endian 32-bit words."""
    return struct.pack(f"<{len(values)}I", *values)
