"""A die of one's own that can't start: the user is told what is missing and what to do, and nothing waits for ever."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from _sandboxed import PACKAGES, Runner

import fauxdna

CALL = """
import fcntl, os, sys
fd = os.open("/dev/accel/accel0", os.O_RDWR)
try:
    fcntl.ioctl(fd, 0xC0406400, bytearray(64), True)
except OSError as error:
    print(os.strerror(error.errno))
"""


@pytest.fixture
def damaged(runner: Runner) -> Iterator[tuple[Runner, Path]]:
    """A runner whose package is a copy that may be damaged, and where that is."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        package = Path(folder, "fauxdna")
        shutil.copytree(Path(fauxdna.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        for library in Path(fauxdna.__file__).parent.glob("*.so"):
            (package / library.name).symlink_to(library)
        yield replace(runner, environment=runner.environment | {"PYTHONPATH": f"{folder}:{PACKAGES}"}), package


def test_without_the_compiled_part_no_program_starts(damaged: tuple[Runner, Path]) -> None:
    runner, package = damaged
    for library in package.glob("*.so"):
        library.unlink()
    done = runner.run("--", "echo", "started")
    assert (done.returncode, done.stdout) == (125, "")
    sentence = f"fauxdna: fauxdna's compiled part is missing: no _core in {package}; install fauxdna again, or ./dev setup ["
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1


def check_told(runner: Runner, sentence: str, remedy: str) -> None:
    """The launcher may still be there when the die fails, and then says so itself; else the program's ioctl fails."""
    done = runner.run("--", "/usr/bin/python3", "-c", CALL)
    first, *rest = done.stderr.splitlines()
    assert first.startswith(f"fauxdna: {sentence}")
    assert remedy in first
    if done.returncode == 125:
        assert (len(rest), done.stdout) == (1, "")
        assert rest[0].startswith("fauxdna: the die did not start;")
    else:
        assert (done.returncode, rest, done.stdout) == (0, [], "Function not implemented\n")


def test_a_broken_compiled_part(damaged: tuple[Runner, Path]) -> None:
    runner, package = damaged
    (library,) = package.glob("*.so")
    library.unlink()
    library.write_bytes(b"")
    check_told(runner, f"the die can't start: {library}: file too short", "install fauxdna again")


def test_firmware_keys_that_do_not_fit(damaged: tuple[Runner, Path]) -> None:
    runner, package = damaged
    key = package / "firmware" / "development.key"
    text = key.read_bytes()
    key.unlink()
    key.write_bytes(text[: len(text) // 2])
    check_told(runner, "the die failed: ", "--log FILE")


def test_what_the_program_did_with_its_standard_error_is_its_own(damaged: tuple[Runner, Path]) -> None:
    runner, package = damaged
    (library,) = package.glob("*.so")
    library.unlink()
    library.write_bytes(b"")
    # The die fails only when the program has its own standard error: it waits for the program to open a FIFO.
    fifo = str(package / "ready")
    os.mkfifo(fifo)
    os.chmod(fifo, 0o666)
    with (package / "host" / "peers.py").open("a") as peers:
        peers.write(f"open({fifo!r}).close()\n")
    source = f"import os\nos.close(2)\nopen(os.devnull, 'w')\nopen({fifo!r}, 'w').close()\n{CALL}"
    done = runner.run("--", "/usr/bin/python3", "-c", source)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Function not implemented\n", "")


def test_too_few_descriptors(runner: Runner) -> None:
    command = runner.command("exec", "-q", "--", "echo", "started")[len(runner.prefix) :]
    done = runner.native("prlimit", "--nofile=40:40", *command)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith("fauxdna: 40 open files are allowed, and 1 NPU may need 64; raise the limit: ulimit -Hn 1024")


def test_a_low_soft_limit_is_the_programs_alone(runner: Runner) -> None:
    command = runner.command(
        "exec", "-q", "--", "/usr/bin/python3", "-c", CALL + "import resource; print(resource.getrlimit(7)[0])"
    )
    done = runner.native("prlimit", "--nofile=20:4096", *command[len(runner.prefix) :])
    assert (done.stdout, done.stderr) == ("20\n", "")


@pytest.mark.parametrize("place", ["/nonexistent/log", "/dev/full"])
def test_a_log_that_can_not_be_written(runner: Runner, place: str) -> None:
    done = runner.run("--log", place, "--", "/usr/bin/python3", "-c", CALL + "print('served')")
    if place == "/dev/full":
        # A die without a log is a die.
        assert (done.stdout, done.stderr) == ("served\n", "")
    else:
        assert (done.returncode, done.stdout) == (125, "")
        assert done.stderr == "fauxdna: /nonexistent/log: No such file or directory\n"
