"""The end of contexts and processes under waits and commands: in a sandbox as on Linux 7.2."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from _destroy import EXPECTED
from _guest_program import compiled
from _sandboxed import Runner


@pytest.mark.parametrize("level", ["7.2", "next"])
def test_waits_outlive_their_context(user: Runner, level: str) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        done = user.run("--uapi", level, "--", str(compiled("destroy.c", Path(folder))))
    assert (done.stdout, done.returncode) == (EXPECTED, 0), done.stderr
