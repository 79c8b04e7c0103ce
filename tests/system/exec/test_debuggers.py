"""gdb, strace and a shell's job control on programs at their ioctls."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from _patience import PATIENCE, eventually
from _sandboxed import Runner

from fauxdna.host.doctor import trixie_root


@pytest.fixture(scope="module")
def waiter() -> Iterator[str]:
    """The C program, where an ordinary user may run it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler: apt install gcc libc6-dev")
    place = f"/tmp/fauxdna-waiter-{os.getpid()}"
    source = str(Path(__file__).parent / "waiter.c")
    subprocess.run([compiler, "-g", "-O0", "-Wall", "-Werror", source, "-o", place], check=True)
    yield place
    os.unlink(place)


def where(tool: str) -> list[str]:
    """The options of ``exec`` with which a tool is there."""
    if shutil.which(tool):
        return []
    root = trixie_root()
    if (root / "usr/bin" / tool).exists():
        return ["--root", str(root)]
    pytest.skip(f"no {tool} here, nor in a trixie root: apt install {tool}, or ./dev root")


def test_gdb_stops_after_an_ioctl_and_goes_on(runner: Runner, waiter: str) -> None:
    commands = ["set debuginfod enabled off", "break answered", "run", "print error", "backtrace", "continue"]
    script = [word for command in commands for word in ("-ex", command)]
    done = runner.run(*where("gdb"), "--", "gdb", "-batch", "-nx", *script, "--args", waiter, "version")
    assert "Breakpoint 1, answered (error=0)" in done.stdout, done
    assert "$1 = 0" in done.stdout
    assert re.search(r"#1 .* main ", done.stdout)
    assert "answered: Success" in done.stdout
    assert "exited normally" in done.stdout


def test_strace_shows_ioctls_and_their_results(runner: Runner, waiter: str) -> None:
    done = runner.run(*where("strace"), "--", "strace", "-f", "-e", "trace=ioctl", "sh", "-c", f"{waiter} version; exit 3")
    assert (done.returncode, done.stdout) == (3, "answered: Success\n"), done
    assert re.search(r"ioctl\(\d+, DRM_IOCTL_VERSION, .*\) = 0", done.stderr)
    assert "+++ exited with 3 +++" in done.stderr


class Terminal:
    """An interactive shell on a terminal of its own."""

    def __init__(self, runner: Runner) -> None:
        self.seen = ""
        self.pid, self.master = pty.fork()
        if not self.pid:
            with suppress(OSError):
                command = [*runner.prefix, "bash", "--norc", "--noprofile", "--noediting", "-i"]
                os.execvpe(command[0], command, runner.environment | {"PS1": "$ "})
            os._exit(127)

    def type(self, text: str) -> None:
        """Keys."""
        os.write(self.master, text.encode())

    def expect(self, pattern: str) -> None:
        """Reads until ``pattern`` is seen, and forgets what came up to its end."""
        until = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.seen)):
            assert time.monotonic() < until, self.seen
            if select.select([self.master], [], [], 1)[0]:
                self.seen += os.read(self.master, 4096).decode()
        self.seen = self.seen[found.end() :]

    @property
    def foreground(self) -> int:
        """The process group that keys are for."""
        return os.tcgetpgrp(self.master)

    def waits(self, program: int) -> bool:
        """Whether keys are for ``program``, and it is at a call that waits: a shell hands it over, then continues."""
        state = Path(f"/proc/{program}/stat").read_text().rpartition(")")[2].split()[0]
        return self.foreground == program and state in "SD"

    def close(self) -> None:
        """Hangs up."""
        os.close(self.master)
        os.waitpid(self.pid, 0)


def test_a_shell_stops_continues_and_interrupts_a_wait(runner: Runner, waiter: str) -> None:
    """wait_event_interruptible_timeout of aie4_cmd_wait: ERESTARTSYS, which a stop restarts and a handler makes EINTR."""
    if not shutil.which("bash"):
        pytest.skip("needs bash")
    terminal = Terminal(runner)
    try:
        terminal.expect(r"\$ ")
        command = [runner.python, "-m", "fauxdna", "exec", "-q", "--", waiter, "wait"]
        terminal.type(shlex.join(command) + "\n")
        terminal.expect(r"\nwaiting")
        program = terminal.foreground
        assert program != terminal.pid
        terminal.type("\x1a")
        terminal.expect(r"Stopped.*\n\$ ")
        terminal.type("jobs -s | wc -l; fg\n")
        terminal.expect(r"\n1\r")
        # What continues a program takes back a stop that came before.
        assert eventually(lambda: terminal.waits(program))
        terminal.type("\x1a")
        terminal.expect(r"Stopped.*\n\$ ")
        terminal.type("fg\n")
        assert eventually(lambda: terminal.waits(program))
        terminal.type("\x03")
        terminal.expect(r"answered: Interrupted system call\r\n.*\$ ")
        terminal.type("echo status $?\n")
        # EINTR, which is what the program exits with.
        terminal.expect(r"status 4")
    finally:
        terminal.close()
