"""Buffers between processes: descriptors by SCM_RIGHTS, in a sandbox, between sandboxes and dies, after their maker's death."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from _patience import PATIENCE
from _sandboxed import Runner
from test_daemon import folder as folder
from test_daemon import serving

from fauxdna.abi.uapi import INVALID_ADDRESS

PROGRAM = """
import array, ctypes, fcntl, mmap, os, signal, socket, struct, sys
def ioctl(fd, number, form, *values):
    data = bytearray(struct.pack(form, *values))
    fcntl.ioctl(fd, 3 << 30 | len(data) << 16 | 0x6400 | number, data, True)
    return struct.unpack(form, data)
def errno(call):
    try:
        return call() and 0
    except OSError as error:
        return error.errno
def node(index=0): return os.open(f"/dev/accel/accel{index}", os.O_RDWR)
def create(fd, size): return ioctl(fd, 0x43, "<QQQII", 0, 0, size, 1, 0)[4]
def map_offset(fd, handle): return ioctl(fd, 0x44, "<QQIIQQQ", 0, 0, handle, 0, 0, 0, 0)[4]
def vaddr(fd, handle): return ioctl(fd, 0x44, "<QQIIQQQ", 0, 0, handle, 0, 0, 0, 0)[5]
def address(fd, handle): return ioctl(fd, 0x44, "<QQIIQQQ", 0, 0, handle, 0, 0, 0, 0)[6]
def show(fd, handle, size=8192): return mmap.mmap(fd, size, offset=map_offset(fd, handle))
def export(fd, handle): return ioctl(fd, 0x2D, "<IIi", handle, os.O_RDWR | os.O_CLOEXEC, -1)[2]
def import_(fd, prime): return ioctl(fd, 0x2E, "<IIi", 0, 0, prime)[0]
def give(link, fd): link.sendmsg([b"f"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
def take(link): return array.array("i", link.recvmsg(1, socket.CMSG_SPACE(4))[1][0][2])[0]
"""
TOGETHER = (
    PROGRAM
    + """
ours, theirs = socket.socketpair()
pid = os.fork()
if not pid:
    ours.close()
    fd = node()
    handle = create(fd, 8192)
    memory = show(fd, handle)
    memory[:5] = b"hello"
    print("mapped where it says", vaddr(fd, handle) == ctypes.addressof(ctypes.c_char.from_buffer(memory)), flush=True)
    give(theirs, export(fd, handle))
    assert theirs.recv(1) == b"r"
    print("exporter sees", bytes(memory[4096:4101]), flush=True)
    theirs.send(b"k")
    signal.pause()
theirs.close()
fd = node()
prime = take(ours)
handle = import_(fd, prime)
assert import_(fd, prime) == handle
print("importer sees", os.lseek(prime, 0, os.SEEK_END), end=" ")
os.close(prime)
memory = show(fd, handle)
print(bytes(memory[:5]), flush=True)
memory[4096:4101] = b"there"
ours.send(b"r")
assert ours.recv(1) == b"k"
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
again = export(fd, handle)
memory[8187:] = b"alive"
print("after its death", bytes(memory[:5]), bytes(show(fd, handle)[8187:]), flush=True)
ioctl(fd, 0x43, "<QQQII", 0, 0, 1 << 20, 1, 0)
memory.close()
os.close(fd)
other = node()
late = import_(other, again)
print("from the descriptor alone", bytes(show(other, late)[:5]), flush=True)
"""
)
EXPORT = (
    PROGRAM
    + """
fd = node()
handle = create(fd, 8192)
show(fd, handle)[:5] = b"hello"
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listening", flush=True)
link, _ = listener.accept()
give(link, export(fd, handle))
link.recv(1)
"""
)
IMPORT = (
    PROGRAM
    + """
link = socket.socket(socket.AF_UNIX)
link.connect(sys.argv[1])
prime = take(link)
link.send(b"x")
link.recv(1)
fd = node()
error = errno(lambda: import_(fd, prime))
if error:
    print("refused", error)
else:
    handle = import_(fd, prime)
    print("imported", hex(map_offset(fd, handle)), address(fd, handle) != 0, os.lseek(prime, 0, os.SEEK_END))
"""
)
DIES = (
    PROGRAM
    + """
first, second = node(0), node(1)
handle = create(first, 8192)
prime = export(first, handle)
theirs = import_(second, prime)
print(hex(map_offset(second, theirs)), address(second, theirs) != 0)
os.close(first)
print(address(second, theirs) != 0, import_(second, prime) == theirs)
"""
)


def test_two_processes_share_a_buffer_also_after_its_makers_death(runner: Runner) -> None:
    done = runner.run("--", "/usr/bin/python3", "-c", TOGETHER)
    assert done.stdout.splitlines() == [
        "mapped where it says True",
        "importer sees 8192 b'hello'",
        "exporter sees b'there'",
        "after its death b'hello' b'alive'",
        "from the descriptor alone b'hello'",
    ], done.stderr


def exchanged(runner: Runner, exporter: tuple[str, ...], importer: tuple[str, ...]) -> str:
    """What a program in another sandbox, started with the options ``importer``, says of a descriptor whose maker has ended."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        Path(place).chmod(0o777)
        path = f"{place}/socket"
        command = runner.command("exec", "--quiet", *exporter, "--", "/usr/bin/python3", "-c", EXPORT, path)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=runner.environment) as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "listening\n"
            done = runner.run(*importer, "--", "/usr/bin/python3", "-c", IMPORT, path)
            assert program.wait(PATIENCE) == 0
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_two_sandboxes_of_one_die_share_a_buffer(runner: Runner, folder: str) -> None:
    with serving(runner, folder) as daemon:
        where = ("--die", daemon.socket)
        # The device reaches it; a program can only map its own sandbox's file.
        assert exchanged(runner, where, where) == f"imported {INVALID_ADDRESS:#x} True 8192"


def test_dies_of_two_daemons_are_two_machines(user: Runner) -> None:
    assert exchanged(user, (), ()) == "refused 22"


def test_two_dies_of_one_daemon_share_a_buffer(user: Runner) -> None:
    done = user.run("--npus", "2", "--", "/usr/bin/python3", "-c", DIES)
    assert done.stdout.splitlines() == [f"{INVALID_ADDRESS:#x} True", "True True"], done.stderr
