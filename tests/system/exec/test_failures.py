"""What goes wrong before a program starts: one sentence with the remedy, and the status that env(1) gives."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from _sandboxed import Runner

from fauxdna.errors import Unsupported
from fauxdna.host import _sandbox
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


REFUSING = """
import ctypes, os, struct, sys
number, error, *command = sys.argv[1:]
rows = [(0x20, 0, 0, 0), (0x15, 0, 1, int(number)), (0x06, 0, 0, 0x50000 | int(error)), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *row) for row in rows))
program = ctypes.create_string_buffer(struct.pack("<H6xQ", len(rows), ctypes.addressof(code)))
libc = ctypes.CDLL(None)
assert not libc.prctl(38, *(ctypes.c_ulong(value) for value in (1, 0, 0, 0)))
assert not libc.prctl(22, ctypes.c_ulong(2), program, ctypes.c_ulong(0), ctypes.c_ulong(0))
os.execvp(command[0], command)
"""
"""Runs a command whose system call NUMBER fails with ERROR (PR_SET_SECCOMP, SECCOMP_RET_ERRNO), as a container's profile does."""
UNSHARE, MOUNT, SECCOMP = 272, 165, 317


def refused(runner: Runner, number: int, error: int) -> subprocess.CompletedProcess[str]:
    """``fauxdna exec true`` where a system call is refused."""
    command = runner.command("exec", "--", "true")[len(runner.prefix) :]
    return run([*runner.prefix, runner.python, "-c", REFUSING, str(number), str(error), *command], runner)


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS])
def test_a_container_without_namespaces(runner: Runner, error: int) -> None:
    done = refused(runner, UNSHARE, error)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == (
        f"fauxdna: no user namespace ({os.strerror(error)}): a container, a chroot or a security module forbids it; "
        "in a container, allow it: podman run --security-opt seccomp=unconfined, or docker run with it and --cap-add SYS_ADMIN "
        f"[{errno.errorcode[error]}]\n"
    )


def test_a_container_without_mounts(runner: Runner) -> None:
    done = refused(runner, MOUNT, errno.EPERM)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == (
        "fauxdna: no private mounts at / (Operation not permitted): a container or security module forbids them; "
        "in a container, allow them: --security-opt seccomp=unconfined --cap-add SYS_ADMIN [EPERM]\n"
    )


@pytest.mark.parametrize("error", [errno.EINVAL, errno.ENOSYS])
def test_a_kernel_without_seccomp_notification(runner: Runner, error: int) -> None:
    done = refused(runner, SECCOMP, error)
    assert (done.returncode, done.stdout) == (125, "")
    assert "Linux 5.19 or later with CONFIG_SECCOMP_FILTER has it; boot a newer kernel" in done.stderr


def test_apparmor_forbids_mounts(user: Runner, tmp_path: Path) -> None:
    """Ubuntu 24.04's setting, shown by a tmpfs over /proc/sys/kernel; its refusal comes from seccomp."""
    if not user.prefix:
        pytest.skip("needs root to show another setting")
    script = """
        mount -t tmpfs none /proc/sys/kernel
        echo 1 > /proc/sys/kernel/apparmor_restrict_unprivileged_userns
        exec "$@"
    """
    confined = replace(user, prefix=("unshare", "--mount", "sh", "-c", script, "sh", *user.prefix))
    done = refused(confined, MOUNT, errno.EACCES)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == (
        "fauxdna: no rights in the user namespace: AppArmor takes them from ordinary users; "
        "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0 [EACCES]\n"
    )


def test_apparmor_forbids_the_id_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the map is refused as well, since writing it takes CAP_SYS_ADMIN in the namespace (map_write of user_namespace.c)."""

    def denied(path: str, text: str) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", path)

    monkeypatch.setattr(_sandbox, "unshare", lambda flags: None)
    monkeypatch.setattr(_sandbox, "_write", denied)
    monkeypatch.setattr(_sandbox, "_setting", {"kernel/apparmor_restrict_unprivileged_userns": "1"}.get)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Unsupported, match=r"AppArmor takes them .* sysctl kernel\.apparmor_restrict_unprivileged_userns=0"):
        _sandbox.enter()


def test_where_another_listens_to_system_calls(runner: Runner) -> None:
    source = (
        "import os, sys\nfrom fauxdna.host._filter import install_filter\n"
        "os.set_inheritable(install_filter(), True)\nos.execvp(sys.argv[1], sys.argv[1:])"
    )
    command = runner.command("exec", "--quiet", "--", "true")[len(runner.prefix) :]
    done = run([*runner.prefix, runner.python, "-c", source, *command], runner)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == (
        "fauxdna: this process is inside a sandbox that listens to its system calls, and Linux allows one listener; "
        "leave the outer `fauxdna exec` or container first [EBUSY]\n"
    )


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
