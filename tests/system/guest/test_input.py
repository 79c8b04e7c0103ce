"""What a command in the guest reads: the caller's input, byte for byte, and nothing of another command's."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from fauxdna.vm import Machine
from fauxdna.vm.kernel import Kernel


def test_a_file_is_read_unchanged(machine: Machine, tmp_path: Path) -> None:
    content = os.urandom(1_000_000)
    (tmp_path / "file").write_bytes(content)
    with (tmp_path / "file").open("rb") as file:
        done = machine.run(["md5sum"], stdin=file.fileno())
    assert done.stdout.split()[0] == hashlib.md5(content).hexdigest()


def test_without_input_a_command_reads_nothing(machine: Machine) -> None:
    assert machine.run(["cat"]).stdout == ""


def test_what_one_command_leaves_is_not_the_next_ones(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"first\n" * 500_000)
    (tmp_path / "short").write_bytes(b"second\n")
    for _ in range(3):
        with (tmp_path / "long").open("rb") as file:
            assert machine.run(["head", "-n", "1"], stdin=file.fileno()).stdout == "first\n"
        with (tmp_path / "short").open("rb") as file:
            assert machine.run(["cat"], stdin=file.fileno()).stdout == "second\n"


def test_an_input_that_never_comes_does_not_hold_a_command_up(machine: Machine) -> None:
    ours, theirs = os.pipe()
    try:
        assert machine.run(["echo", "done"], stdin=ours).stdout == "done\n"
    finally:
        os.close(ours)
        os.close(theirs)


def test_output_input_and_status_of_the_command_line(kernel: Kernel) -> None:
    script = "uname -r; cat; echo err >&2; exit 4"
    command = [sys.executable, "-m", "fauxdna", "vm", "--vfs", "1", "--", "sh", "-c", script]
    done = subprocess.run(command, input=b"\x00\xff\n", capture_output=True, timeout=300)
    assert (done.returncode, done.stdout) == (4, f"{kernel.release}\n".encode() + b"\x00\xff\n")
    assert b"err\n" in done.stderr


def test_what_qemu_refuses_is_said(kernel: Kernel) -> None:
    command = [sys.executable, "-m", "fauxdna", "vm", "--vfs", "0", "--qemu-args", "-nonsense", "--", "true"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "fauxdna: the guest ended while it booted; look at what QEMU printed" in done.stderr
    assert done.stderr.endswith("\nqemu-system-x86_64: -nonsense: invalid option\n")
