"""Programs under the real filter, and a handler that answers them, for tests of the ioctl door."""

from __future__ import annotations

import array
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from _patience import PATIENCE

from fauxdna import _core
from fauxdna.abi import uapi

LAUNCH = """
import array, os, socket, sys
from fauxdna.host._filter import install_filter
with socket.socket(fileno=int(sys.argv[1])) as out:
    out.sendmsg([b"l"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [install_filter()]))])
os.execvp(sys.argv[2], sys.argv[2:])
"""
PRELUDE = """
import ctypes, fcntl, mmap, os, signal, socket, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
libc.ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p]
NODES = sys.argv[1:]
def ioctl(fd, request, argument=0):
    "0, or the errno."
    return 0 if libc.ioctl(fd, request, argument) >= 0 else ctypes.get_errno()
def node(index=0):
    return os.open(NODES[index], os.O_RDWR)
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
"""


def request(number: int, size: int = 0, direction: int = 3) -> int:
    """A DRM ioctl number."""
    return direction << 30 | size << 16 | ord("d") << 8 | number


NOOP = request(0x00)
KEEP = request(0x01)
"""The handler below keeps this one."""
WAIT_CMD = uapi.Ioctl.WAIT_CMD


class Handler:
    """Answers 0 or what a test sets, and remembers what came."""

    def __init__(self) -> None:
        self.answers: dict[int, Callable[[_core.Call], object]] = {}
        self.kept: list[_core.Call] = []
        self.clients: list[int] = []
        """Of each call."""
        self.events: list[tuple[str, int]] = []
        """("call", client), ("closed", client), ("ended", 0), ("interrupted", client)."""
        self.changed = threading.Condition()

    def call(self, call: _core.Call) -> None:
        self.note("call", call.client)
        self.clients.append(call.client)
        if call.request == KEEP:
            call.interruptible(lambda client=call.client: self.note("interrupted", client))
            with self.changed:
                self.kept.append(call)
                self.changed.notify_all()
        elif call.request in self.answers:
            self.answers[call.request](call)
        else:
            call.reply()

    def closed(self, client: int) -> None:
        self.note("closed", client)

    def ended(self) -> None:
        self.note("ended", 0)

    def note(self, what: str, client: int) -> None:
        with self.changed:
            self.events.append((what, client))
            self.changed.notify_all()

    def count(self, what: str) -> int:
        return sum(1 for event, _ in self.events if event == what)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Until ``condition`` holds; fails if it never does."""
        with self.changed:
            assert self.changed.wait_for(condition, PATIENCE), self.events[-20:]

    def wait_kept(self, count: int = 1) -> None:
        self.wait_for(lambda: len(self.kept) >= count)


class Program:
    """A child under the filter with a door of its own; ``source`` is Python with :data:`PRELUDE`, or ``argv`` a program."""

    def __init__(
        self,
        source: str = "",
        *,
        argv: list[str] | None = None,
        handler: Handler | None = None,
        nodes: int = 1,
        completions: _core.Completions | None = None,
        arguments: list[str] | None = None,
        wrapper: list[str] | None = None,
    ) -> None:
        self.handler = handler or Handler()
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm")
        self.nodes = [str(Path(self.folder.name) / f"accel{index}") for index in range(nodes)]
        self.files = [os.open(path, os.O_RDWR | os.O_CREAT, 0o600) for path in self.nodes]
        for file in self.files:
            os.ftruncate(file, 1 << 40)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = argv or [sys.executable, "-c", PRELUDE + source]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(
            [*(wrapper or []), sys.executable, "-c", LAUNCH, str(theirs.fileno()), *program, *self.nodes, *(arguments or [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
            env=environment,
            text=True,
            bufsize=1,
            process_group=0,
        )
        theirs.close()
        with ours:
            _, rights, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
        listener = array.array("i", rights[0][2])[0]
        self.door = _core.Door(listener, self.files, self.handler, completions=completions)
        os.close(listener)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.door.close()
        for file in self.files:
            os.close(file)
        self.folder.cleanup()

    def line(self) -> str:
        """The next line that it printed."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        """Lets it read one line."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def finish(self) -> list[str]:
        """The rest of what it prints; it has to end well."""
        assert self.process.stdout is not None
        text = self.process.stdout.read()
        assert self.process.wait(PATIENCE) == 0, text
        return text.split()
