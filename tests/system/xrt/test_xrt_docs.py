"""``docs/xrt.md`` as somebody follows it who has just built a clone: its commands as they stand, by an ordinary user too."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from _sandboxed import Runner
from _xrt import EXAMPLES, as_root, as_user

from fauxdna._root import find_root
from fauxdna.cache import cache_folder
from fauxdna.errors import FauxdnaError

pytestmark = pytest.mark.trixie
TEXT = (EXAMPLES.parent / "docs" / "xrt.md").read_text()
_ELSEWHERE = "/mnt"
"""Where an ordinary user finds what lies in root's own cache."""


def commands(heading: str) -> str:
    """The first shell block after a heading or word of the page."""
    (block,) = re.findall(r"```sh\n(.*?)```", TEXT[TEXT.index(heading) :], re.DOTALL)[:1]
    return block


@pytest.fixture(params=["root", "user"])
def clone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Runner, Path]]:
    """Who follows, and a folder with the examples, ``python`` and ``fauxdna``."""
    runner = as_root() if request.param == "root" else as_user()
    if isinstance(runner, str):
        pytest.skip(runner)
    try:
        find_root("trixie")
    except FauxdnaError as error:
        pytest.skip(f"Debian 13 with XRT can't be fetched: {error}")
    with tempfile.TemporaryDirectory(prefix="fauxdna-docs-") as name:
        folder = Path(name)
        shutil.copytree(EXAMPLES, folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
        for program, line in (("python", 'exec "$P" "$@"'), ("fauxdna", 'exec "$P" -m fauxdna "$@"')):
            (folder / program).write_text(f"#!/bin/sh\nP={runner.python}\n{line}\n")
            (folder / program).chmod(0o755)
        folder.chmod(0o777)
        yield runner, folder


def follow(clone: tuple[Runner, Path], script: str) -> subprocess.CompletedProcess[str]:
    """Runs a block of the page; each of its lines has to succeed."""
    runner, folder = clone
    outer: list[str] = []
    environment = runner.environment | {"PATH": f"{folder}:{runner.environment['PATH']}", "HOME": str(folder)}
    environment["FAUXDNA_CACHE"] = str(cache_folder())
    if runner.prefix:
        outer = ["unshare", "--mount", "sh", "-c", f'mount --bind "$0" {_ELSEWHERE} && exec "$@"', str(cache_folder())]
        environment["FAUXDNA_CACHE"] = _ELSEWHERE
    command = [*outer, *runner.prefix, "sh", "-ec", script]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_npu_is_seen(clone: tuple[Runner, Path]) -> None:
    done = follow(clone, commands("**No XRT on your system?**"))
    assert "[0000:05:00.1]  |RyzenAI-npu3-vf  |aie4" in done.stdout


def test_a_model(clone: tuple[Runner, Path]) -> None:
    """The page ends with ``cmp``: the same bytes, within what an ordinary user may lock."""
    done = follow(clone, commands("## A model"))
    assert "cmp" in commands("## A model")
    assert "y: 32768 bytes of float32 [1, 8, 32, 32]" in done.stdout
