"""Imports point one way: what each package may know, as docs and design have it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import fauxdna

ROOT = Path(fauxdna.__file__).parent
SHARED = {"abi", "errors", "log"}
MAY_IMPORT = {
    "abi": set(),
    "errors": set(),
    "log": set(),
    "bus": {"abi"},
    "driver": SHARED | {"_core", "bus"},
    "accel": SHARED | {"_core", "bus", "driver"},
    "artifact": {"abi", "errors"},
    "compiler": SHARED | {"artifact"},
    "firmware": {"abi", "errors"},
    "device": SHARED | {"_core", "bus", "firmware"},
    "serve": SHARED | {"_core", "bus", "device", "firmware"},
    "cache": {"errors"},
    "vm": SHARED | {"bus", "cache", "driver", "firmware", "serve"},
    "host": SHARED | {"_core", "accel", "bus", "driver", "firmware", "serve"},
    "runtime": SHARED | {"_core", "accel", "artifact", "driver", "firmware", "serve"},
}
"""``runtime`` starts a die where no node is named."""


def imports(path: Path) -> Iterator[str]:
    """Subpackages of fauxdna that a module imports, wherever the statement stands."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*("fauxdna", *package)[: len(package) + 2 - node.level]] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{prefix}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "fauxdna" and len(parts) > 1:
                yield parts[1]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package: str) -> None:
    folder = ROOT / package
    files = [*folder.rglob("*.py")] if folder.is_dir() else [ROOT / f"{package}.py"]
    assert files
    for path in files:
        wrong = set(imports(path)) - MAY_IMPORT[package] - {package, "__version__"}
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


def test_only_serve_imports_the_device() -> None:
    allowed = {"device", "serve"}
    for path in ROOT.rglob("*.py"):
        if path.relative_to(ROOT).parts[0] not in allowed:
            assert "device" not in set(imports(path)), path


def test_architecture_names_every_room() -> None:
    tree = ROOT.parents[1]
    page = tree / "docs/architecture.md"
    if not page.exists():
        pytest.skip("needs the source tree")
    cells = [line.split("|")[1] for line in page.read_text().splitlines() if line.startswith("| `")]
    named = {name.removesuffix(".rs") for cell in cells for name in cell.split("`")[1::2]}
    python = {path.stem for path in ROOT.iterdir() if path.suffix in ("", ".py") and not path.name.startswith(("_", "."))}
    rust = {path.stem for path in (tree / "src").iterdir()} - {"abi"}
    assert named == python | rust
