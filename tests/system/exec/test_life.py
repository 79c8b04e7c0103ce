"""Who dies when: daemons, programs, children; signals while an ioctl waits; debuggers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess

import pytest
from _patience import PATIENCE, eventually
from _sandboxed import Runner
from test_daemon import folder as folder
from test_daemon import serving

VERSION = """
import fcntl, os, sys, time
fd = os.open("/dev/accel/accel0", os.O_RDWR)
def version():
    try:
        fcntl.ioctl(fd, 0xC0406400, bytearray(64), True)
        return "served"
    except OSError as error:
        return os.strerror(error.errno)
"""


def test_a_daemon_that_was_killed_gives_errors(runner: Runner, folder: str) -> None:
    source = VERSION + "print(version(), flush=True); sys.stdin.readline(); print(version(), flush=True)"
    with serving(runner, folder) as daemon:
        command = runner.command("exec", "-q", "--die", daemon.socket, "--", "/usr/bin/python3", "-c", source)
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=runner.environment
        ) as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "served\n"
            daemon.process.kill()
            daemon.process.wait(PATIENCE)
            said, _ = program.communicate("\n", timeout=PATIENCE)
        # Nobody listens any more: seccomp_unotify(2) says ENOSYS.
        assert said == "Function not implemented\n"


def test_children_go_on_after_their_parent(runner: Runner) -> None:
    source = VERSION + "if os.fork(): os._exit(5)\ntime.sleep(0.3); print(version())"
    done = runner.run("--", "/usr/bin/python3", "-c", source)
    assert (done.returncode, done.stdout) == (5, "served\n")


def test_a_private_die_ends_with_its_last_program(runner: Runner, tmp_path: os.PathLike[str]) -> None:
    before = dies()
    with subprocess.Popen(
        runner.command("exec", "-q", "--", "/usr/bin/python3", "-c", VERSION + "print(version(), flush=True); time.sleep(600)"),
        stdout=subprocess.PIPE,
        text=True,
        env=runner.environment,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "served\n"
        mine = dies() - before
        assert mine
        program.kill()
    assert eventually(lambda: not mine & dies())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_a_program_at_its_ioctls(runner: Runner, number: int) -> None:
    source = VERSION + "print('ready', flush=True)\nwhile True: version()"
    with subprocess.Popen(
        runner.command(
            "exec", "-q", "--", "/usr/bin/python3", "-c", f"import signal; signal.signal(2, signal.SIG_DFL)\n{source}"
        ),
        stdout=subprocess.PIPE,
        text=True,
        env=runner.environment,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        program.send_signal(number)
        assert program.wait(PATIENCE) == -number


def test_gdb_and_strace_work_in_a_sandbox(runner: Runner) -> None:
    tools = {
        "strace": ["-f", "-e", "trace=openat", "cat", "/dev/null"],
        "gdb": ["-batch", "-ex", "run", "--args", "/bin/true"],
    }
    there = [name for name in tools if shutil.which(name)]
    if not there:
        pytest.skip("neither gdb nor strace is installed: apt install gdb strace")
    for name in there:
        done = runner.run("--", name, *tools[name])
        assert done.returncode == 0, done.stderr
        assert "exited" in done.stdout + done.stderr


def dies() -> set[str]:
    """Processes of private dies."""
    found = set()
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if b"fauxdna.host.private" in file.read():
                    found.add(pid)
        except OSError:
            continue
    return found
