"""What system tests need from outside this repository, found once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from _trixie import TrixieRoot


@pytest.fixture(scope="session")
def trixie_root() -> TrixieRoot:
    """The root; skips where there is none, or nobody may enter it."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fauxdna" / "trixie"
    path = Path(os.environ.get("FAUXDNA_TRIXIE_ROOT") or default)
    if not (path / "usr/bin/aiebu-asm").exists():
        pytest.skip(f"no trixie root at {path}; make it with ./dev root (needs root and network)")
    if os.geteuid() != 0:
        pytest.skip("entering the trixie root needs root")
    return TrixieRoot(path)
