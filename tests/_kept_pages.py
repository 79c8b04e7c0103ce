"""A process with pages of a file of a FUSE file system, which answers no read until it is told to.

``python _kept_pages.py PAGES``, as root with ``/dev/fuse``: prints process and address of the pages; answers from the first line
that it reads on.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fauxdna.abi.linux import CLONE_NEWNS, MS_REC, MS_SLAVE
from fauxdna.host._system import mount, unshare

PAGE = 4096
GETATTR, OPEN, READ, FLUSH, RELEASE, INIT = 3, 14, 15, 25, 18, 26
HEADER = struct.Struct("<2I2Q4I")
FILE_MODE = 0o100666

needs_fuse = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"), reason="needs root and /dev/fuse")


class Kept:
    """The process as a test has it; the pages are full of 1 once it answers."""

    def __init__(self, process: subprocess.Popen[str], pages: int) -> None:
        assert process.stdout
        self._process = process
        self.pid, self.address = (int(word) for word in process.stdout.readline().split())
        self.length = pages * PAGE
        self.memory = os.open(f"/proc/{self.pid}/mem", os.O_RDWR)

    def answer(self) -> None:
        """The file system answers from now on."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()


@contextmanager
def kept_pages(pages: int = 1) -> Iterator[Kept]:
    """A process whose pages nobody gets before it is told to give them. It ends with the block."""
    command = [sys.executable, __file__, str(pages)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            kept = Kept(process, pages)
            try:
                yield kept
            finally:
                os.close(kept.memory)
        finally:
            process.kill()


def answer(opcode: int, pages: int) -> tuple[int, bytes]:
    """Error and payload."""
    if opcode == INIT:
        return 0, struct.pack("<4I2H2I", 7, 31, 0, 0, 0, 0, PAGE, 1).ljust(64, b"\0")
    if opcode == OPEN:
        return 0, bytes(16)
    if opcode == GETATTR:
        return 0, bytes(16) + struct.pack("<6Q10I", 1, PAGE * pages, pages, 0, 0, 0, 0, 0, 0, FILE_MODE, 1, 0, 0, 0, PAGE, 0)
    if opcode == READ:
        return 0, b"\1" * PAGE
    return (0 if opcode in (FLUSH, RELEASE) else -errno.ENOSYS), b""


class FileSystem:
    """One file, whose reads wait."""

    def __init__(self, device: int, pages: int) -> None:
        self._device, self._pages = device, pages
        self._lock = threading.Lock()
        self._kept: list[tuple[int, int]] | None = []

    def serve(self) -> None:
        """Answers all but reads."""
        while True:
            request = os.read(self._device, 1 << 17)
            _, opcode, unique, *_ = HEADER.unpack_from(request)
            with self._lock:
                if opcode == READ and self._kept is not None:
                    self._kept.append((opcode, unique))
                    continue
            self._reply(opcode, unique)

    def release(self) -> None:
        """Answers reads, too."""
        with self._lock:
            kept, self._kept = self._kept or [], None
        for opcode, unique in kept:
            self._reply(opcode, unique)

    def _reply(self, opcode: int, unique: int) -> None:
        error, payload = answer(opcode, self._pages)
        os.write(self._device, struct.pack("<IiQ", HEADER.size - 24 + len(payload), error, unique) + payload)


def own(path: str, pages: int, ready: int) -> None:
    """The process that has the pages, and does not touch them. It ends with its parent, whose pipe it holds."""
    file = os.open(path, os.O_RDWR)
    mapping = mmap.mmap(file, pages * PAGE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
    os.write(ready, f"{os.getpid()} {address}\n".encode())
    signal.pause()


def main() -> None:
    """See above."""
    pages = int(sys.argv[1])
    unshare(CLONE_NEWNS)
    mount("", "/", "", MS_REC | MS_SLAVE)
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    with tempfile.NamedTemporaryFile() as place:
        mount("kept", place.name, "fuse", 0, f"fd={device},rootmode={FILE_MODE:o},user_id=0,group_id=0")
        child = os.fork()
        if not child:
            os.close(device)
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            own(place.name, pages, sys.stdout.fileno())
        served = FileSystem(device, pages)
        threading.Thread(target=served.serve, daemon=True).start()
        sys.stdin.readline()
        served.release()
        signal.pause()


if __name__ == "__main__":
    main()
