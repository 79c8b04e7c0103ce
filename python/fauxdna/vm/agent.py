"""Talks to the guest's first program: boot phases, and commands with their output and status.

Virtio-serial ports: lines both ways on ``control``; what commands print on ``stdout`` and ``stderr``, each run ended by
its id between two record separators; what a command reads on ``stdin``, a connection for each. ``guest/init`` is the other end.
"""

from __future__ import annotations

import base64
import selectors
import shlex
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Final

from .errors import GuestTimeout
from .feed import Feed

PORTS: Final = ("control", "stdout", "stderr")
INPUT: Final = "stdin"
"""The port that commands read."""
_SEPARATOR: Final = b"\x1e"
_CHUNK: Final = 1 << 16

Sink = Callable[[bytes], object]


@dataclass(frozen=True)
class Completed:
    """What a command in the guest left: its exit status (128 + n for signal n), and its output unless that went elsewhere."""

    status: int
    stdout: str
    stderr: str


@dataclass
class Boot:
    """How a boot went. ``phases`` are (seconds since QEMU started, the guest's uptime in seconds) by name."""

    phases: dict[str, tuple[float, float]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class Ended(Exception):
    """The guest's ports were closed: QEMU has gone."""


class Agent:
    """The host's end of the ports. One command at a time.

    Args:
        input_path: The socket behind the port that commands read.
    """

    def __init__(self, input_path: Path | None = None) -> None:
        self._input_path = input_path
        pairs = {name: socket.socketpair() for name in PORTS}
        self._sockets = {name: pair[0] for name, pair in pairs.items()}
        self.guest_ends = {name: pair[1] for name, pair in pairs.items()}
        """What QEMU inherits; closed by :meth:`started`."""
        self.boot = Boot()
        self._selector = selectors.DefaultSelector()
        self._pending = {name: bytearray() for name in PORTS}
        for name, end in self._sockets.items():
            end.setblocking(False)
            self._selector.register(end, selectors.EVENT_READ, name)

    def started(self) -> None:
        """QEMU runs and holds its ends."""
        for end in self.guest_ends.values():
            end.close()

    def wait_ready(self, begun: float, timeout: float) -> Boot:
        """Reads the boot's phases until the guest takes commands. ``begun`` is ``time.monotonic()`` when QEMU was started."""
        deadline = begun + timeout
        while "ready" not in self.boot.phases:
            self._receive(deadline, f"the guest does not come up in {timeout:g} s")
            for line in self._lines():
                kind, _, rest = line.partition(" ")
                if kind == "phase":
                    name, _, uptime = rest.partition(" ")
                    self.boot.phases[name] = (time.monotonic() - begun, float(uptime))
                elif kind == "problem":
                    self.boot.problems.append(rest)
        return self.boot

    def reboot(self, timeout: float) -> Boot:
        """Has the guest reboot, and reads the phases of its next boot."""
        self.boot = Boot()
        begun = time.monotonic()
        self._send(token_hex(8), "reboot -f")
        return self.wait_ready(begun, timeout)

    def run(
        self,
        command: str | Sequence[str],
        timeout: float,
        stdout: Sink | None = None,
        stderr: Sink | None = None,
        stdin: int | None = None,
    ) -> Completed:
        """Runs a shell script, or a program with arguments, in the guest.

        Args:
            command: A string is a script; a sequence is a program and its arguments.
            timeout: Seconds.
            stdout: Takes the output as it comes; it is collected otherwise.
            stderr: The same for standard error.
            stdin: A descriptor that the command's input comes from; without one it is empty.
        """
        script = command if isinstance(command, str) else shlex.join(command)
        identifier = token_hex(8)
        kept = {"stdout": bytearray(), "stderr": bytearray()}
        sinks: dict[str, Sink] = {"stdout": stdout or kept["stdout"].extend, "stderr": stderr or kept["stderr"].extend}
        feed = None if stdin is None or self._input_path is None else Feed(self._input_path, identifier, stdin)
        self._send(identifier, script, *([INPUT] if feed else []))
        try:
            if feed is not None:
                feed.attach(self._selector)
            status = self._pass_all(identifier, sinks, script, timeout)
        finally:
            if feed is not None:
                feed.close()
        texts = {name: bytes(data).decode(errors="replace") for name, data in kept.items()}
        return Completed(status, texts["stdout"], texts["stderr"])

    def _send(self, identifier: str, script: str, *more: str) -> None:
        control = self._sockets["control"]
        control.setblocking(True)
        words = (identifier, base64.b64encode(script.encode()).decode(), *more)
        control.sendall(" ".join(words).encode() + b"\n")
        control.setblocking(False)

    def close(self) -> None:
        """Lets the ports go; may be called twice."""
        self._selector.close()
        for end in (*self._sockets.values(), *self.guest_ends.values()):
            end.close()

    def _pass_all(self, identifier: str, sinks: dict[str, Sink], script: str, timeout: float) -> int:
        """Passes the command's output on until it has ended; its status."""
        deadline = time.monotonic() + timeout
        open_streams, status = set(sinks), -1
        while open_streams or status < 0:
            for name in list(open_streams):
                if self._pass_on(name, identifier, sinks[name]):
                    open_streams.discard(name)
            for line in self._lines():
                kind, _, rest = line.partition(" ")
                if kind == "done" and rest.startswith(identifier):
                    status = int(rest.split(" ")[1])
            if open_streams or status < 0:
                first = script.splitlines()[0] if script else "nothing"
                self._receive(deadline, f"after {timeout:g} s the guest still runs {first}")
        return status

    def _receive(self, deadline: float, problem: str) -> None:
        ready = self._selector.select(max(0.0, deadline - time.monotonic()))
        # A command that never stops printing is always ready.
        if not ready or time.monotonic() > deadline:
            raise GuestTimeout(problem, "give it longer with --timeout, or look at its log with --dmesg")
        for key, _ in ready:
            if isinstance(key.data, Feed):
                key.data.go_on()
                continue
            try:
                data = self._sockets[key.data].recv(_CHUNK)
            except ConnectionError:
                data = b""
            if not data:
                raise Ended
            self._pending[key.data] += data

    def _lines(self) -> list[str]:
        *lines, rest = bytes(self._pending["control"]).split(b"\n")
        self._pending["control"] = bytearray(rest)
        return [line.decode(errors="replace") for line in lines]

    def _pass_on(self, name: str, identifier: str, sink: Sink) -> bool:
        """Gives a stream's bytes to its sink, up to the mark; true if that was there."""
        pending = self._pending[name]
        mark = _SEPARATOR + identifier.encode() + _SEPARATOR
        at = pending.find(mark)
        # What may be the mark's beginning stays until more has come.
        end = at if at >= 0 else len(pending) - _overlap(pending, mark)
        if end:
            sink(bytes(pending[:end]))
        del pending[: end + (len(mark) if at >= 0 else 0)]
        return at >= 0


def _overlap(data: bytearray, mark: bytes) -> int:
    """How many bytes at the end of ``data`` begin ``mark``."""
    return next((size for size in range(min(len(mark) - 1, len(data)), 0, -1) if data.endswith(mark[:size])), 0)
