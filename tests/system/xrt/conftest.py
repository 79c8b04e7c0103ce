"""Who runs stock XRT, where, and on what."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from _xrt import Small, TrixieRoot, Xrt, as_root, as_user


@pytest.fixture(params=["root", "user"])
def xrt(request: pytest.FixtureRequest, trixie_root: TrixieRoot) -> Iterator[Xrt]:
    """Stock XRT, as root and as an ordinary user."""
    runner = as_root() if request.param == "root" else as_user()
    if isinstance(runner, str):
        pytest.skip(runner)
    if not (trixie_root.path / "usr/bin/g++").exists():
        pytest.skip("the trixie root lacks what these tests need; bring it up to date with ./dev root")
    with tempfile.TemporaryDirectory(prefix="fauxdna-xrt-") as folder:
        os.chmod(folder, 0o777)
        yield Xrt(runner, trixie_root, Path(folder))


_made: dict[int, Small] = {}


@pytest.fixture(params=[1, 3], ids=["1 column", "3 columns"])
def small(request: pytest.FixtureRequest, xrt: Xrt) -> Small:
    """A compiled model and what comes out of it."""
    columns: int = request.param
    xrt.need_scratch_pad(columns)
    if columns not in _made:
        _made[columns] = Small(columns)
    return _made[columns]
