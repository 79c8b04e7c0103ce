"""Folders that are made once and appear whole."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from _patience import PATIENCE

from fauxdna.cache import locked, made_once
from fauxdna.errors import FauxdnaError, OutOfSpace

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


def test_what_is_damaged_is_made_anew(tmp_path: Path) -> None:
    def make(part: Path) -> None:
        (part / "file").write_text("whole")

    def intact(folder: Path) -> bool:
        return (folder / "file").exists() and (folder / "file").read_text() == "whole"

    for damage in (lambda file: file.write_text("half"), lambda file: file.unlink(), lambda file: None):
        assert intact(made_once(tmp_path / "target", make, intact=intact))
        damage(tmp_path / "target" / "file")
    (tmp_path / "target" / "more").touch()
    made_once(tmp_path / "target", lambda part: None, intact=intact)
    assert (tmp_path / "target" / "more").exists(), "what is whole stays"


def test_a_full_cache_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAUXDNA_CACHE", str(tmp_path))

    def fill(part: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(part / "file"))

    with pytest.raises(
        OutOfSpace, match="No space left on device; free some space there, or name another folder in FAUXDNA_CACHE"
    ):
        made_once(tmp_path / "target", fill)


def test_a_cache_that_can_not_be_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FAUXDNA_CACHE", str(tmp_path / "file"))
    with pytest.raises(FauxdnaError, match="name another folder in FAUXDNA_CACHE"):
        made_once(tmp_path / "file" / "target", lambda part: None)


def test_errors_elsewhere_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAUXDNA_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError):
        made_once(tmp_path / "target", lambda part: Path("/none/file").touch())


def test_who_waits_is_told_so(tmp_path: Path) -> None:
    waits = threading.Event()

    def second() -> None:
        with locked(tmp_path / "lock", waits.set):
            pass

    with locked(tmp_path / "lock", pytest.fail):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(PATIENCE)
    thread.join()
