"""Writes what the guest's C program needs to ``abi.h``: ``python -m fauxdna.abi._c > python/fauxdna/vm/guest/abi.h``.

A test keeps the file equal to what this prints.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from enum import IntEnum
from types import ModuleType

from ._declare import Struct, Words
from .elf import ADDRESS_FORMS

MODULES = {"uapi": "XDNA", "host_queue": "QUEUE", "elf": "ELF", "control_code": "CODE", "array": "ARRAY", "messages": "MESSAGE"}
"""Modules, and what their constants' names begin with."""
ONLY = {
    "control_code": ("PAGE_SIZE", "PAGE_HEADER_SIZE", "MAX_UC", "Relocation"),
    "array": ("COLUMNS", "SHIM_ADDRESS_OFFSET"),
    "messages": ("TILES_PER_COLUMN",),
}
"""What is taken of modules of which the program needs little."""

_HEADER = """\
/* What both sides agree on. Generated from python/fauxdna/abi by python -m fauxdna.abi._c; do not edit. */
#ifndef ABI_H
#define ABI_H

#include <stdint.h>
"""
_TYPES = {
    "u8": "uint8_t",
    "i8": "int8_t",
    "u16": "uint16_t",
    "i16": "int16_t",
    "u32": "uint32_t",
    "i32": "int32_t",
    "u64": "uint64_t",
    "i64": "int64_t",
}


def _upper(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()


def _number(value: int) -> str:
    suffix = "" if value < 1 << 31 else "u" if value < 1 << 32 else "ull"
    return (hex(value) if value > 4096 else str(value)) + suffix


def _struct(declared: Struct) -> Iterator[str]:
    yield f"/* {declared.source} */"
    yield f"struct {declared.name} {{"
    for field in declared.fields:
        yield f"\t{_TYPES[field.type]} {field.name}{f'[{field.count}]' if field.count != 1 else ''};"
    yield "};"
    yield f'_Static_assert(sizeof(struct {declared.name}) == {declared.size}, "{declared.name}");'


def _words(prefix: str, declared: Words) -> Iterator[str]:
    yield f"/* {declared.source} */"
    yield f"#define {prefix}_{declared.name.upper()}_WORDS {declared.count}"
    for field in declared.fields.values():
        name = f"{prefix}_{declared.name}_{field.name}".upper()
        yield f"#define {name}_WORD {field.word}"
        yield f"#define {name}_LOW {field.low}"
        yield f"#define {name}_MASK {_number(field.mask)}"


def _module(module: ModuleType, prefix: str, only: tuple[str, ...] | None) -> Iterator[str]:
    for name, value in vars(module).items():
        if name.startswith("_") or (only is not None and name not in only):
            continue
        if isinstance(value, type) and issubclass(value, IntEnum) and value.__module__ == module.__name__:
            yield f"enum {prefix.lower()}_{_upper(value.__name__).lower()} {{"
            yield from (f"\t{prefix}_{_upper(value.__name__)}_{member.name} = {_number(member.value)}," for member in value)
            yield "};"
        elif isinstance(value, Struct):
            yield from _struct(value)
        elif isinstance(value, Words):
            yield from _words(prefix, value)
        elif name.isupper() and isinstance(value, int) and not isinstance(value, bool):
            yield f"#define {prefix}_{name} {_number(value)}"
        elif name.isupper() and isinstance(value, str):
            yield f'#define {prefix}_{name} "{value}"'


def _address_forms() -> Iterator[str]:
    """The relocation schemas that hold addresses."""
    places = max(len(form.high) for form in ADDRESS_FORMS.values())
    yield "/* Where a relocation schema keeps an address; high: word, bits, first address bit. */"
    yield "static const struct elf_address_form {"
    yield "\tuint8_t schema, low, offset, replace;"
    yield f"\tstruct {{ uint8_t word, bits, shift; }} high[{places}]; /* bits 0: none */"
    yield "} elf_address_forms[] = {"
    for schema, form in ADDRESS_FORMS.items():
        high = ", ".join(f"{{ {word}, {bits}, {shift} }}" for word, bits, shift in form.high)
        yield f"\t{{ {int(schema)}, {form.low}, {int(form.offset)}, {int(form.replace)}, {{ {high} }} }},"
    yield "};"


def generate() -> str:
    """The text of ``abi.h``."""
    parts = [_HEADER]
    for name, prefix in MODULES.items():
        module = importlib.import_module(f"fauxdna.abi.{name}")
        parts.append(f"\n/* From fauxdna.abi.{name}. */")
        parts.extend(_module(module, prefix, ONLY.get(name)))
    parts += ["", *_address_forms(), "", "#endif"]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(generate())
