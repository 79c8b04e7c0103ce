"""What goes wrong before a program starts: one sentence with the remedy, and the status that env(1) gives."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from _sandboxed import Runner

from fauxdna.host._program import CannotRun, examine


def run(command: list[str], runner: Runner) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, env=runner.environment, timeout=60)


def test_a_program_that_is_not_there(runner: Runner) -> None:
    done = runner.run("--", "no-such-program")
    assert done.returncode == 127
    assert done.stderr == "fauxdna: there is no program no-such-program; install it, or give its path [ENOENT]\n"


def test_xrt_tools_that_are_not_there(runner: Runner) -> None:
    if shutil.which("xrt-smi"):
        pytest.skip("xrt-smi is installed on this machine")
    done = runner.run("--", "xrt-smi", "examine")
    assert done.returncode == 127
    assert "libxrt-utils" in done.stderr
    assert "--root" in done.stderr


@pytest.mark.parametrize(("path", "word"), [("/etc/passwd", "chmod"), ("/etc", "directory")])
def test_what_can_not_be_executed(user: Runner, path: str, word: str) -> None:
    done = user.run("--", path)
    assert done.returncode == 126
    assert word in done.stderr


def test_inside_a_sandbox(runner: Runner) -> None:
    done = runner.run("--", runner.python, "-m", "fauxdna", "exec", "--", "true")
    assert done.returncode == 125
    assert done.stderr == (
        "fauxdna: this is inside a fauxdna sandbox already: its NPU is /dev/accel/accel0; "
        "start the program as it is, without exec [EBUSY]\n"
    )


def test_no_user_namespaces(user: Runner) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to forbid namespaces")
    # The limit is a namespace's own: 0 in a child leaves the machine's alone.
    script = 'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-sys_admin --inh-caps=-all "$@"'
    outer = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"]
    done = run([*outer, *user.command("exec", "--", "true")[len(user.prefix) :]], user)
    assert done.returncode == 125, done
    assert "max_user_namespaces" in done.stderr


def test_in_a_chroot(user: Runner, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("chroot needs root")
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    script = """
        for name in /*; do
            if [ -L "$name" ]; then ln -s "$(readlink "$name")" "$ROOT$name"
            elif [ -d "$name" ]; then mkdir "$ROOT$name" && mount --rbind "$name" "$ROOT$name"; fi
        done
        exec chroot --userspec=65534:65534 "$ROOT" "$@"
    """
    outer = ["env", f"ROOT={tmp_path}", "unshare", "--mount", "sh", "-c", script, "sh"]
    done = run([*outer, *user.command("exec", "--", "true")[len(user.prefix) :]], user)
    assert done.returncode == 125, done
    assert done.stderr == (
        "fauxdna: no user namespace: this process is in a chroot, where Linux allows none; "
        "start it outside, with --root DIRECTORY instead of chroot [EPERM]\n"
    )


def test_no_die_at_the_socket(runner: Runner) -> None:
    done = runner.run("--die", "/nonexistent/socket", "--", "true")
    assert done.returncode == 125
    assert done.stderr == (
        "fauxdna: no die at /nonexistent/socket (No such file or directory); "
        "start one: fauxdna serve --socket /nonexistent/socket [ENODEV]\n"
    )


def test_little_locked_memory(user: Runner) -> None:
    command = [
        *user.prefix,
        "prlimit",
        "--memlock=8388608:8388608",
        *user.command("exec", "--", "sh", "-c", "ulimit -l")[len(user.prefix) :],
    ]
    done = run(command, user)
    assert (done.returncode, done.stdout) == (0, "8192\n")
    assert done.stderr.startswith("fauxdna: locked memory is limited to 8192 KiB")
    assert "memlock unlimited" in done.stderr


def test_locked_memory_is_raised_as_far_as_allowed(user: Runner) -> None:
    command = [
        *user.prefix,
        "prlimit",
        "--memlock=65536:8388608",
        *user.command("exec", "-q", "--", "sh", "-c", "ulimit -l")[len(user.prefix) :],
    ]
    done = run(command, user)
    assert (done.stdout, done.stderr) == ("8192\n", "")


def test_a_program_for_another_machine(tmp_path: Path) -> None:
    program = bytearray(Path("/bin/true").read_bytes())
    struct.pack_into("<H", program, 18, 183)  # EM_AARCH64 of elf.h
    path = tmp_path / "foreign"
    path.write_bytes(program)
    with pytest.raises(CannotRun, match="aarch64") as caught:
        examine(str(path), glibc="2.36", library_path="")
    assert caught.value.status == 126


def test_a_program_for_a_newer_glibc() -> None:
    """/bin/sh needs some version of glibc that is newer than 2.3."""
    with pytest.raises(CannotRun, match=r"needs glibc 2.*this system has 2.3;.*--root"):
        examine(os.path.realpath("/bin/sh"), glibc="2.3", library_path="")
    assert examine(os.path.realpath("/bin/sh"), glibc="2.999", library_path="") == []


@pytest.mark.parametrize("cut", [20, 64, 100, 1000, 5000])
def test_a_damaged_program_is_the_kernels_to_judge(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "cut"
    path.write_bytes(Path("/bin/true").read_bytes()[:cut])
    assert examine(str(path), glibc="2.36", library_path="") == []
