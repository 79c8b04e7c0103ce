"""What is generated from abi stands in the tree as it would be generated now."""

from __future__ import annotations

from pathlib import Path

from fauxdna.abi import _c, _reference, _rust

ROOT = Path(__file__).parents[2]


def test_rust_declarations_are_current() -> None:
    assert (ROOT / "src/abi.rs").read_text() == _rust.generate()


def test_c_declarations_are_current() -> None:
    assert (ROOT / "python/fauxdna/vm/guest/abi.h").read_text() == _c.generate()


def test_tile_program_tables_are_current() -> None:
    page = (ROOT / "docs/tile-programs.md").read_text()
    begin = page.index(_reference.BEGIN)
    assert page[begin:] == _reference.generate()
