"""What the shell is offered on Tab."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fauxdna.cli import _complete


def offered(*words: str) -> list[str]:
    """What bash's function gets from the command for the last of ``words``."""
    surroundings = {
        **os.environ,
        "_FAUXDNA_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["fauxdna", *words]),
        "COMP_CWORD": str(len(words)),
    }
    command = [sys.executable, "-c", "import sys; sys.argv[0] = 'fauxdna'; from fauxdna.__main__ import main; main()"]
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=120, check=True)
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offer"),
    [
        (["vm", "--fault", "mailbox"], ["mailbox-silent", "mailbox-slow"]),
        (["vm", "--kernel", ""], ["stock"]),
        (["bench", "model", "m"], ["magika"]),
        (["serve", "--functio"], ["--function"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_bash_is_offered_what_fits(words: list[str], offer: list[str]) -> None:
    assert offered(*words) == offer


def test_a_die_is_offered_where_one_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert _complete.dies("") == []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "fauxdna.sock"))
        assert _complete.dies(str(tmp_path)) == [str(tmp_path / "fauxdna.sock")]
        assert _complete.dies("./other") == []
