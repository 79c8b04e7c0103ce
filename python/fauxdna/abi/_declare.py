"""How abi declares what both sides agree on: structures, bit-field words and named values.

A declaration is data. It can pack and unpack itself in Python, and :mod:`fauxdna.abi._rust` writes the same
declaration out as Rust constants, so no offset is typed twice.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_FORMATS: Mapping[str, str] = {
    "u8": "B",
    "i8": "b",
    "u16": "H",
    "i16": "h",
    "u32": "I",
    "i32": "i",
    "u64": "Q",
    "i64": "q",
    "f32": "f",
}


@dataclass(frozen=True)
class Field:
    """One field of a :class:`Struct`: a little-endian scalar, or ``count`` of them."""

    name: str
    type: str
    count: int = 1
    doc: str = ""

    @cached_property
    def packing(self) -> str:
        """The ``struct`` format of this field."""
        return "<" + self.format

    @property
    def format(self) -> str:
        """The ``struct`` format of this field, without byte order."""
        return (f"{self.count}" if self.count != 1 else "") + _FORMATS[self.type]

    @property
    def size(self) -> int:
        """Bytes this field takes."""
        return struct.calcsize("<" + self.format)


def fields_of(text: str) -> list[Field]:
    """Fields from ``"type name, type name[count]"``."""
    declared = []
    for part in text.split(","):
        kind, field = part.split()
        field, _, count = field.partition("[")
        declared.append(Field(field, kind, int(count[:-1]) if count else 1))
    return declared


class Struct:
    """A packed little-endian structure.

    ``size`` is given by the declaration and checked when the module is imported, so a wrong field can't go unseen.
    ``source`` names the document or header the layout comes from.
    """

    def __init__(self, name: str, size: int, fields: list[Field], *, source: str) -> None:
        self.name = name
        self.fields = tuple(fields)
        self.source = source
        self.offsets: dict[str, int] = {}
        self._by_name = {field.name: field for field in fields}
        self._scalars = all(field.count == 1 for field in fields)
        self._places: dict[str, tuple[struct.Struct, int]] = {}
        at = 0
        for field in fields:
            if field.name in self.offsets:
                raise ValueError(f"{name}.{field.name} is declared twice")
            self.offsets[field.name] = at
            self._places[field.name] = struct.Struct(field.packing), at
            at += field.size
        if at != size:
            raise ValueError(f"{name} declares {size} bytes but its fields take {at}")
        self.size = size
        self._packer = struct.Struct("<" + "".join(field.format for field in fields))

    def pack(self, **values: object) -> bytes:
        """Bytes of this structure; fields not given are zero. Array fields take a sequence."""
        unknown = values.keys() - self.offsets.keys()
        if unknown:
            raise TypeError(f"{self.name} has no field {', '.join(sorted(unknown))}")
        flat: list[object] = []
        for field in self.fields:
            if field.count == 1:
                flat.append(values.get(field.name, 0))
            else:
                items = values.get(field.name, (0,) * field.count)
                if not isinstance(items, (tuple, list)) or len(items) != field.count:
                    raise TypeError(f"{self.name}.{field.name} takes {field.count} values")
                flat.extend(items)
        return self._packer.pack(*flat)

    def unpack(self, data: bytes | bytearray | memoryview, offset: int = 0) -> Record:
        """The fields at ``offset`` of ``data``; raises ``struct.error`` if ``data`` is too short."""
        values = self._packer.unpack_from(data, offset)
        if self._scalars:
            # As many values as names, by construction; a strict zip takes a quarter longer.
            return Record(self.name, dict(zip(self.offsets, values)))  # noqa: B905
        return Record(self.name, dict(self._take(iter(values))))

    def get(self, data: bytes | bytearray, name: str) -> int:
        """One scalar field of the structure at the beginning of ``data``."""
        packer, offset = self._places[name]
        value: int = packer.unpack_from(data, offset)[0]
        return value

    def put(self, data: bytearray, name: str, value: int) -> None:
        """Changes one scalar field of the structure at the beginning of ``data``."""
        packer, offset = self._places[name]
        packer.pack_into(data, offset, value)

    def field(self, name: str) -> Field:
        """The declaration of one field."""
        return self._by_name[name]

    def _take(self, flat: Iterator[object]) -> Iterator[tuple[str, object]]:
        for field in self.fields:
            if field.count == 1:
                yield field.name, next(flat)
            else:
                yield field.name, tuple(next(flat) for _ in range(field.count))

    def __repr__(self) -> str:
        return f"<Struct {self.name}, {self.size} bytes>"


class Record(Mapping[str, int]):
    """The values of one structure or word, read by name (``record.write_index`` or ``record["write_index"]``)."""

    __slots__ = ("_name", "_values")

    def __init__(self, name: str, values: dict[str, object]) -> None:
        self._name = name
        # Scalars are int (or float for f32 fields) and arrays are tuples; int is the type nearly every reader wants.
        self._values: dict[str, Any] = values

    def __getitem__(self, key: str) -> int:
        value: int = self._values[key]
        return value

    def __getattr__(self, key: str) -> int:
        try:
            value: int = self._values[key]
        except KeyError:
            raise AttributeError(f"{self._name} has no field {key}") from None
        return value

    def elements(self, key: str) -> tuple[int, ...]:
        """The elements of field ``key``, which is an array."""
        values: tuple[int, ...] = self._values[key]
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"{self._name}({', '.join(f'{k}={v!r}' for k, v in self._values.items())})"


@dataclass(frozen=True)
class Bits:
    """Bits ``[high:low]`` of 32-bit word ``word`` of a :class:`Words` declaration."""

    name: str
    word: int
    high: int
    low: int
    signed: bool = False
    doc: str = ""

    @property
    def width(self) -> int:
        """Number of bits."""
        return self.high - self.low + 1

    @property
    def mask(self) -> int:
        """Mask of the value, not shifted."""
        return (1 << self.width) - 1


class Words:
    """A block of ``count`` little-endian 32-bit words made of bit-fields: a register, a BD, a packet header."""

    def __init__(self, name: str, count: int, fields: list[Bits], *, source: str) -> None:
        self.name = name
        self.count = count
        self.size = 4 * count
        self.source = source
        self.fields = {field.name: field for field in fields}
        if len(self.fields) != len(fields):
            raise ValueError(f"{name} declares a bit-field twice")
        taken = [0] * count
        for field in fields:
            if not (0 <= field.low <= field.high <= 31 and 0 <= field.word < count):
                raise ValueError(f"{name}.{field.name} lies outside its words")
            bits = field.mask << field.low
            if taken[field.word] & bits:
                raise ValueError(f"{name}.{field.name} overlaps another field")
            taken[field.word] |= bits

    def encode(self, **values: int) -> tuple[int, ...]:
        """The words with the given fields set and all others zero; ``OverflowError`` if a value does not fit."""
        words = [0] * self.count
        for key, value in values.items():
            field = self.fields.get(key)
            if field is None:
                raise TypeError(f"{self.name} has no field {key}")
            low, high = (-(1 << field.width - 1), field.mask >> 1) if field.signed else (0, field.mask)
            if not low <= value <= high:
                raise OverflowError(f"{self.name}.{key} holds {low}..{high}, not {value}")
            words[field.word] |= (value & field.mask) << field.low
        return tuple(words)

    def decode(self, words: tuple[int, ...] | list[int]) -> Record:
        """The fields of ``words``."""
        if len(words) != self.count:
            raise ValueError(f"{self.name} has {self.count} words, not {len(words)}")
        values: dict[str, object] = {}
        for field in self.fields.values():
            value = words[field.word] >> field.low & field.mask
            if field.signed and value >> field.width - 1:
                value -= 1 << field.width
            values[field.name] = value
        return Record(self.name, values)

    def pack(self, **values: int) -> bytes:
        """:meth:`encode` as bytes."""
        return struct.pack(f"<{self.count}I", *self.encode(**values))

    def unpack(self, data: bytes | bytearray | memoryview, offset: int = 0) -> Record:
        """:meth:`decode` from bytes."""
        return self.decode(struct.unpack_from(f"<{self.count}I", data, offset))

    def __repr__(self) -> str:
        return f"<Words {self.name}, {self.count} words>"
