"""A person at the guest's console: a shell with job control on a terminal, left with Ctrl-A x."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from contextlib import suppress

from fauxdna.vm.kernel import Kernel

CTRL_A, CTRL_C = b"\x01", b"\x03"


class Terminal:
    """A child on a terminal of its own."""

    def __init__(self, *command: str) -> None:
        self.fd, other = pty.openpty()
        self.process = subprocess.Popen(command, stdin=other, stdout=other, stderr=other, start_new_session=True)
        os.close(other)
        self.seen = b""

    def until(self, text: bytes, seconds: float = 60) -> None:
        """Reads until ``text`` is there, and forgets what came up to it."""
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            assert select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0], self.seen[-2000:]
            self.seen += os.read(self.fd, 1 << 16)
        self.seen = self.seen.partition(text)[2]

    def type(self, keys: bytes) -> None:
        """Presses keys."""
        os.write(self.fd, keys)

    def ends_well(self) -> None:
        """Waits for the child's end, reading what it still says."""
        while self.process.poll() is None:
            if select.select([self.fd], [], [], 0.1)[0]:
                with suppress(OSError):  # The other end is closed.
                    os.read(self.fd, 1 << 16)
        os.close(self.fd)
        assert self.process.returncode == 0


def test_a_shell_takes_commands_and_interrupts(kernel: Kernel) -> None:
    terminal = Terminal(sys.executable, "-m", "fauxdna", "vm", "--vfs", "1")
    terminal.until(b"Ctrl-A x ends the guest")
    terminal.until(b"# ")
    # What is typed comes back too, so the answers are sums.
    terminal.type(b"tty; echo sum $((40 + 2)); sleep 1000\r")
    terminal.until(b"/dev/ttyS0")
    terminal.until(b"sum 42")
    terminal.type(CTRL_C)
    terminal.until(b"# ")
    terminal.type(b"ls /dev/accel; echo sum $((50 + 2))\r")
    terminal.until(b"accel1")
    terminal.until(b"sum 52")
    terminal.type(CTRL_A + b"x")
    terminal.ends_well()


def test_leaving_the_shell_ends_the_guest(kernel: Kernel) -> None:
    terminal = Terminal(sys.executable, "-m", "fauxdna", "vm", "--vfs", "0")
    terminal.until(b"# ")
    terminal.type(b"exit\r")
    terminal.ends_well()
