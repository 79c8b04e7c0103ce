"""Writes the declarations that the Rust core needs to ``src/abi.rs``: ``python -m fauxdna.abi._rust > src/abi.rs``.

A test keeps the file equal to what this prints.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from enum import IntEnum, IntFlag
from types import ModuleType

from ._declare import Bits, Struct, Words
from .control_code import Operation

MODULES = ("array", "switch", "tile_program", "timing", "control_code", "host_queue", "uc_log", "firmware_ring", "uapi")
SELECTED = {"uapi": ("WAIT_CMD", "AMD_WAIT_CMD", "Ioctl.WAIT_CMD")}
"""Of these modules the core needs a part: constants, structures, members of enumerations."""

_HEADER = """\
//! What both sides agree on. Generated from `python/fauxdna/abi` by `python -m fauxdna.abi._rust`; do not edit.

#![allow(dead_code)]

/// A bit-field of a block of 32-bit words.
#[derive(Clone, Copy, Debug)]
pub struct Bits {
    pub word: usize,
    pub low: u32,
    pub width: u32,
}

impl Bits {
    /// The field's value in `words`, zero-extended.
    #[inline]
    pub const fn get(self, words: &[u32]) -> u32 {
        let shifted = words[self.word] >> self.low;
        if self.width == 32 { shifted } else { shifted & ((1 << self.width) - 1) }
    }

    /// The field's value in `words`, sign-extended.
    #[inline]
    pub const fn get_signed(self, words: &[u32]) -> i32 {
        let unused = 32 - self.width;
        ((self.get(words) << unused) as i32) >> unused
    }

    /// `words` with the field set to `value`, whose excess bits are dropped.
    #[inline]
    pub const fn set(self, words: &mut [u32], value: u32) {
        let mask = if self.width == 32 { u32::MAX } else { (1 << self.width) - 1 };
        words[self.word] = (words[self.word] & !(mask << self.low)) | ((value & mask) << self.low);
    }
}
"""


def _upper(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()


def _lower(name: str) -> str:
    return _upper(name).lower()


def _number(value: int) -> str:
    return hex(value) if value > 4096 else str(value)


def _constant(name: str, value: object) -> Iterator[str]:
    if isinstance(value, bool):
        yield f"pub const {name}: bool = {str(value).lower()};"
    elif isinstance(value, int):
        kind = "i32" if value < 0 else "u32" if value < 1 << 32 else "u64"
        yield f"pub const {name}: {kind} = {_number(value)};"
    elif isinstance(value, float):
        yield f"pub const {name}: f64 = {value!r};"
    elif isinstance(value, tuple) and value and all(isinstance(item, int) for item in value):
        yield f"pub const {name}: [u32; {len(value)}] = [{', '.join(map(str, value))}];"


def _bits(field: Bits) -> str:
    return f"pub const {_upper(field.name)}: Bits = Bits {{ word: {field.word}, low: {field.low}, width: {field.width} }};"


def _operations(operations: Mapping[int, Operation]) -> Iterator[str]:
    """Size and operands of each instruction; an operand is a bit-field of the instruction's words."""
    for operation in operations.values():
        if not operation.operands:
            continue
        yield f"/// Operands of {operation.opcode.name}."
        yield f"pub mod {operation.opcode.name.lower()} {{"
        yield "    use super::super::Bits;"
        for operand in operation.operands:
            word, byte = divmod(operand.offset, 4)
            yield "    " + _bits(Bits(operand.name, word, 8 * (byte + operand.size) - 1, 8 * byte))
        yield "}"
    names = [operations[code].opcode.name if code in operations else "" for code in range(256)]
    sizes = [operations[code].size if code in operations else 0 for code in range(256)]
    yield "/// Bytes of the instruction with each opcode; 0 where there is none."
    yield f"pub const SIZES: [u8; 256] = {sizes};"
    yield "/// Mnemonic of each opcode."
    yield f"pub const MNEMONICS: [&str; 256] = [{', '.join(_quoted(name) for name in names)}];"


def _quoted(name: str) -> str:
    return f'"{name}"'


def _module(module: ModuleType, selected: Collection[str] | None) -> Iterator[str]:
    seen: set[int] = set()
    for name, value in vars(module).items():
        if name.startswith("_") or id(value) in seen:
            continue
        members = [full.partition(".")[2] for full in selected or () if full.startswith(f"{name}.")]
        if selected is not None and name not in selected and not members:
            continue
        if isinstance(value, type) and issubclass(value, (IntEnum, IntFlag)) and value.__module__ == module.__name__:
            yield f"pub mod {_lower(value.__name__)} {{"
            for member in value:
                if members and member.name not in members:
                    continue
                kind = "i32" if member.value < 0 else "u32"
                yield f"    pub const {member.name}: {kind} = {_number(member.value)};"
            yield "}"
        elif isinstance(value, Struct):
            seen.add(id(value))
            yield f"/// Byte offsets; {value.source}."
            yield f"pub mod {value.name} {{"
            yield f"    pub const SIZE: usize = {value.size};"
            for field_name, offset in value.offsets.items():
                yield f"    pub const {_upper(field_name)}: usize = {offset};"
            yield "}"
        elif isinstance(value, Words):
            seen.add(id(value))
            yield f"/// Bit-fields; {value.source}."
            yield f"pub mod {value.name} {{"
            yield "    use super::super::Bits;"
            yield f"    pub const WORDS: usize = {value.count};"
            for bits in value.fields.values():
                yield "    " + _bits(bits)
            yield "}"
        elif isinstance(value, dict) and value and all(isinstance(item, Operation) for item in value.values()):
            yield from _operations(value)
        elif name.isupper():
            yield from _constant(name, value)


def generate() -> str:
    """The text of ``src/abi.rs``."""
    parts = [_HEADER]
    for name in MODULES:
        module = importlib.import_module(f"fauxdna.abi.{name}")
        parts.append(f"\n/// From `fauxdna.abi.{name}`.\n#[rustfmt::skip]\npub mod {name} {{")
        parts.extend("    " + line for line in _module(module, SELECTED.get(name)))
        parts.append("}")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(generate())
