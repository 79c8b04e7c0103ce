"""Folders that are made once and appear whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from _patience import PATIENCE

from fauxdna.cache import made_once

CHILD = """
import sys, time
from pathlib import Path
from fauxdna.cache import made_once
def make(part):
    time.sleep(0.2)
    (part / "file").write_text("whole")
    print("made")
print((made_once(Path(sys.argv[1]), make) / "file").read_text())
"""


def test_it_is_made_once_however_many_want_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path / "target")]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    output = "".join(child.communicate(timeout=PATIENCE)[0] for child in children)
    assert (output.count("made\n"), output.count("whole\n")) == (1, 4)


def test_a_failure_leaves_nothing_and_the_next_one_tries_again(tmp_path: Path) -> None:
    def fail(part: Path) -> None:
        (part / "half").touch()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        made_once(tmp_path / "target", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["target.lock"]
    assert made_once(tmp_path / "target", lambda part: (part / "file").touch()).is_dir()


def test_what_a_killed_process_left_goes(tmp_path: Path) -> None:
    (tmp_path / "target.part-dead").mkdir()
    made_once(tmp_path / "target", lambda part: None)
    assert not (tmp_path / "target.part-dead").exists()
