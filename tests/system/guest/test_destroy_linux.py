"""The end of contexts and processes under waits and commands, by the unmodified driver: the judge of ``exec/test_destroy.py``."""

from __future__ import annotations

import shutil
from pathlib import Path

from _destroy import EXPECTED
from _guest_program import compiled

from fauxdna.vm import Machine


def test_waits_outlive_their_context(machine: Machine, shared: Path, tmp_path: Path) -> None:
    shutil.copy(compiled("destroy.c", tmp_path), shared / "destroy")
    done = machine.run("/mnt/shared/destroy", timeout=120)
    assert (done.stdout, done.status) == (EXPECTED, 0), done.stderr
