"""A file of a FUSE file system whose owner keeps a given process waiting: ``python _fuse.py PATH SOCKET PID``, as root.

Mounts over the file PATH in a mount namespace of its own, opens it, and sends the descriptor to SOCKET; answers the process too
when SOCKET is hung up. Numbers are those of ``linux/fuse.h``.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import threading
import time

from fauxdna.abi.linux import CLONE_NEWNS, MS_REC, MS_SLAVE
from fauxdna.host._system import mount, unshare

GETATTR, OPEN, FLUSH, RELEASE, INIT = 3, 14, 25, 18, 26
HEADER = struct.Struct("<2I2Q4I")
FILE_MODE = 0o100666


def answer(opcode: int) -> tuple[int, bytes]:
    """Error and payload."""
    if opcode == INIT:
        return 0, struct.pack("<4I2H2I", 7, 31, 0, 0, 0, 0, 4096, 1).ljust(64, b"\0")
    if opcode == OPEN:
        return 0, bytes(16)
    if opcode == GETATTR:
        return 0, bytes(16) + struct.pack("<6Q10I", 1, 0, 0, 0, 0, 0, 0, 0, 0, FILE_MODE, 1, 0, 0, 0, 4096, 0)
    return (0 if opcode in (FLUSH, RELEASE) else -errno.ENOSYS), b""


def reply(device: int, opcode: int, unique: int) -> None:
    """Answers one request."""
    error, payload = answer(opcode)
    os.write(device, struct.pack("<IiQ", 16 + len(payload), error, unique) + payload)


def serve(device: int, hated: int, kept: list[tuple[int, int]]) -> None:
    """Answers everybody; keeps the requests of one process as long as there is a list for them."""
    while True:
        request = os.read(device, 1 << 17)
        _, opcode, unique, _, _, _, pid, _ = HEADER.unpack_from(request)
        if os.path.exists(f"/proc/{hated}/task/{pid}"):
            kept.append((opcode, unique))
        else:
            reply(device, opcode, unique)


def main() -> None:
    """See above."""
    path, place, hated = sys.argv[1:]
    unshare(CLONE_NEWNS)
    mount("", "/", "", MS_REC | MS_SLAVE)
    device = os.open("/dev/fuse", os.O_RDWR)
    mount("hostile", path, "fuse", 0, f"fd={device},rootmode={FILE_MODE:o},user_id=0,group_id=0")
    kept: list[tuple[int, int]] = []
    threading.Thread(target=serve, args=(device, int(hated), kept), daemon=True).start()
    file = os.open(path, os.O_RDWR)
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(place)
        socket.send_fds(link, [b"x"], [file])
        os.close(file)
        # Until the other side hangs up; then everybody is answered.
        link.recv(1)
    while True:
        while kept:
            reply(device, *kept.pop())
        time.sleep(0.01)


if __name__ == "__main__":
    main()
