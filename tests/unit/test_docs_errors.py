"""docs/errors.md names every class."""

from __future__ import annotations

import inspect
from pathlib import Path

from fauxdna import errors

PAGE = (Path(__file__).parents[2] / "docs/errors.md").read_text()


def test_every_class_is_described() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
    assert len(kinds) > 10
    assert [kind.__name__ for kind in kinds if f"`{kind.__name__}`" not in PAGE and kind is not errors.FauxdnaError] == []
