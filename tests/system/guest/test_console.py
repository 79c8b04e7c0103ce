"""A person at the guest's console: a shell with job control on a terminal, left with Ctrl-A x."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

from _patience import PATIENCE, eventually

from fauxdna.vm.kernel import Kernel
from fauxdna.vm.machine import BOOT_SECONDS

CTRL_A, CTRL_C = b"\x01", b"\x03"


class Terminal:
    """A child on a terminal of its own."""

    def __init__(self, *command: str) -> None:
        self.fd, other = pty.openpty()
        termios.tcsetwinsize(other, (33, 111))
        self.before = termios.tcgetattr(other)
        environment = {name: value for name, value in os.environ.items() if name not in ("LINES", "COLUMNS")}
        # What the first process of a session opens becomes its terminal, whose end ends it.
        opened = ["sh", "-c", 'exec "$@" < "$0" > "$0" 2>&1', os.ttyname(other), *command]
        self.process = subprocess.Popen(opened, env={**environment, "TERM": "screen"}, start_new_session=True)
        self._other = other
        self.seen = b""

    def until(self, text: bytes) -> None:
        """Reads until ``text`` is there, and forgets what came up to it."""
        deadline = time.monotonic() + BOOT_SECONDS
        while text not in self.seen:
            assert select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0], self.seen[-2000:]
            self.seen += os.read(self.fd, 1 << 16)
        self.seen = self.seen.partition(text)[2]

    def type(self, keys: bytes) -> None:
        """Presses keys."""
        os.write(self.fd, keys)

    def ends(self, status: int = 0) -> bytes:
        """Waits for the child's end, reading what it still says; the terminal is then as it was."""
        while self.process.poll() is None:
            if select.select([self.fd], [], [], 0.1)[0]:
                self.seen += os.read(self.fd, 1 << 16)
        assert termios.tcgetattr(self._other) == self.before
        # What was written may be on its way still; its end is an error (EIO) here.
        os.close(self._other)
        with suppress(OSError):
            while select.select([self.fd], [], [], PATIENCE)[0]:
                self.seen += os.read(self.fd, 1 << 16)
        os.close(self.fd)
        assert self.process.returncode == status, self.seen[-2000:]
        return self.seen

    def hangs_up(self) -> None:
        """Closes the window, and waits for the child's end."""
        os.close(self._other)
        os.close(self.fd)
        assert self.process.wait(PATIENCE) == 128 + signal.SIGHUP


def test_a_shell_takes_commands_and_interrupts(kernel: Kernel) -> None:
    terminal = Terminal(sys.executable, "-m", "fauxdna", "vm", "--vfs", "1")
    terminal.until(b"Ctrl-A x ends the guest")
    terminal.until(b"# ")
    # What is typed comes back too, so the answers are sums.
    # The last process says itself that it has the terminal: Ctrl-C before would be the shell's.
    terminal.type(b"tty; stty size; echo $TERM; sh -c 'echo sum $((40 + 2)); exec sleep 1000'\r")
    terminal.until(b"/dev/ttyS0")
    terminal.until(b"33 111")
    terminal.until(b"screen")
    terminal.until(b"sum 42")
    terminal.type(CTRL_C)
    terminal.until(b"# ")
    terminal.type(b"ls /dev/accel; echo sum $((50 + 2))\r")
    terminal.until(b"accel1")
    terminal.until(b"sum 52")
    terminal.type(CTRL_A + b"x")
    terminal.ends()


def test_leaving_the_shell_ends_the_guest(kernel: Kernel) -> None:
    terminal = Terminal(sys.executable, "-m", "fauxdna", "vm", "--vfs", "0")
    terminal.until(b"# ")
    terminal.type(b"exit\r")
    terminal.ends()


def test_a_killed_qemu_leaves_the_terminal_as_it_was(kernel: Kernel) -> None:
    terminal = Terminal(sys.executable, "-m", "fauxdna", "vm", "--vfs", "0")
    terminal.until(b"# ")
    children = Path(f"/proc/{terminal.process.pid}/task/{terminal.process.pid}/children").read_text().split()
    assert len(children) == 1
    os.kill(int(children[0]), signal.SIGKILL)
    assert b"QEMU ended with status -9" in terminal.ends(1)


def test_closing_the_window_ends_the_guest(kernel: Kernel) -> None:
    terminal = Terminal(sys.executable, "-m", "fauxdna", "vm", "--vfs", "0")
    terminal.until(b"# ")
    children = Path(f"/proc/{terminal.process.pid}/task/{terminal.process.pid}/children").read_text().split()
    terminal.hangs_up()
    assert eventually(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
