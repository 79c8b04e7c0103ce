"""Mistakes on the command line and odd surroundings: a sentence each time, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

ODD = b"\xff.onnx"
"""A file name that is no UTF-8."""


def fauxdna(
    *arguments: str | bytes,
    status: int,
    stdout: int | IO[bytes] = subprocess.PIPE,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        [sys.executable, "-m", "fauxdna", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=env,
        timeout=120,
        check=False,
    )
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    assert done.returncode == status, done.stderr
    return done


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["exec", "--functions", "vf=" + "9" * 5000, "--", "true"], 2, b"a die has 64 VFs; ask for fewer"),
        (["exec", "--functions", "vf=40,vf=25", "--", "true"], 2, b"a die has 64 VFs; ask for fewer"),
        (["bench", "doorbell", "--samples", "9" * 20], 2, b"--samples"),
        (["disasm", os.devnull], 1, b"/dev/null: not an ELF file; make one with"),
        (["demo", "files", "/"], 1, b"none of these is a file"),
        (["demo", "speech", os.devnull], 1, b"it ends too early"),
        (["firmware", "verify", ODD], 1, rb"\udcff.onnx: image is cut short: 0 bytes"),
        (["firmware", "verify", ODD, "--key", ODD], 1, rb"\udcff.onnx: not a PEM public key; make one:"),
        (["run", ODD], 1, b"is not an ONNX model"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, arguments: list[str | bytes], status: int, sentence: bytes) -> None:
    (tmp_path / os.fsdecode(ODD)).touch()
    done = fauxdna(*arguments, status=status, cwd=tmp_path)
    assert sentence in b" ".join(done.stderr.split())


def test_names_that_are_no_text_are_printed(tmp_path: Path) -> None:
    image = tmp_path / os.fsdecode(b"\xff.sbin")
    fauxdna("firmware", "build", str(tmp_path), status=0)
    (tmp_path / "npu.dev.sbin").rename(image)
    assert rb"\udcff.sbin" in fauxdna("firmware", "verify", b"\xff.sbin", status=0, cwd=tmp_path).stdout


def test_a_terminal_without_unicode() -> None:
    """Cells that do not fit are folded: nothing is lost, and nothing needs a character that ASCII has not."""
    surroundings = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "25"}
    rows = [line.split(b"|") for line in fauxdna("info", status=0, env=surroundings).stdout.splitlines()]
    assert b"RyzenAI-npu3-vf" in b"".join(cells[2].strip() for cells in rows if len(cells) == 4)


@pytest.mark.parametrize("columns", ["0", "20"])
def test_a_table_is_printed_at_any_width(columns: str) -> None:
    assert b"0x1022" in fauxdna("info", status=0, env={**os.environ, "COLUMNS": columns}).stdout


def test_a_reader_that_has_seen_enough() -> None:
    """As with ``| head -1``: the pipe is closed before the first byte, and more comes than Python buffers."""
    read, write = os.pipe()
    os.close(read)
    for arguments in (["info", "--json"], ["info", "--log"]):
        done = fauxdna(*arguments, status=1, stdout=write)
        assert not done.stderr
    os.close(write)


@pytest.mark.parametrize("descriptor", [0, 1, 2])
def test_a_standard_descriptor_may_be_closed(descriptor: int) -> None:
    close = f'exec {descriptor}>&-; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", close, "sh", sys.executable, "-m", "fauxdna", "info", "--json"],
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_is_named() -> None:
    with open("/dev/full", "wb") as full:
        assert b"No space left on device" in fauxdna("info", "--json", status=1, stdout=full).stderr
