"""Who dies when: daemons, programs, children; signals while an ioctl waits; debuggers."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import tempfile
import time
from contextlib import suppress

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


MANY = """
import ctypes, errno, fcntl, os, struct, sys, threading
fd = os.open("/dev/accel/accel0", os.O_RDWR)
def ioctl(number, argument):
    try:
        fcntl.ioctl(fd, number, argument, True)
        return 0
    except OSError as error:
        return error.errno
def create(tiles=4):
    argument = bytearray(struct.pack("<3Q8I", 0, 0, ctypes.addressof(qos), queue, 0, 0, tiles, 0, 0, 0, 0))
    return ioctl(0xC0386440, argument), struct.unpack_from("<I", argument, 48)[0]
qos = ctypes.create_string_buffer(24)
bo = bytearray(struct.pack("<3Q2I", 0, 0, 8192, 1, 0))
assert ioctl(0xC0206443, bo) == 0
queue = struct.unpack_from("<I", bo, 28)[0]
error, waited = create()
assert error == 0
def wait():  # for ever: nothing was submitted
    return ioctl(0x40106449, bytearray(struct.pack("<2IQ", waited, 0, 0)))
def cycle():
    error, context = create()
    return error or ioctl(0xC0086441, bytearray(struct.pack("<2I", context, 0)))
def submit():  # EOPNOTSUPP as long as somebody answers
    error = ioctl(0xC0386446, bytearray(struct.pack("<2Q2I2Q2IQ", 0, 0, waited, 0, queue, 0, 1, 0, 0)))
    return 0 if error == errno.EOPNOTSUPP else error
def until_it_fails(call):
    while not (first := call()):
        pass
    later = {ioctl(0xC0406400, bytearray(64)) for _ in range(20)}
    said.append((call.__name__, first, later))
said = []
calls = [wait, wait, cycle, cycle, submit]
threads = [threading.Thread(target=until_it_fails, args=(call,)) for call in calls]
for thread in threads: thread.start()
print("ready", flush=True)
for thread in threads: thread.join()
print(json.dumps(sorted((name, first, sorted(later)) for name, first, later in said)))
"""
"""Waits, creates contexts and submits on several threads until something fails, then asks again."""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_pending_and_later_ioctls_of_a_daemon_that_ends_fail(runner: Runner, folder: str, number: int) -> None:
    with serving(runner, folder) as daemon:
        command = runner.command("exec", "-q", "--die", daemon.socket, "--", "/usr/bin/python3", "-c", "import json" + MANY)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=runner.environment) as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            # The threads are in their calls nearly all the time.
            time.sleep(0.1)
            daemon.process.send_signal(number)
            said, _ = program.communicate(timeout=PATIENCE)
            assert daemon.process.wait(PATIENCE) == (-number if number == signal.SIGKILL else 0)
        answers = json.loads(said)
        assert [name for name, _, _ in answers] == ["cycle", "cycle", "submit", "wait", "wait"]
        # ENODEV from a door that closes; ENOSYS from the kernel when nobody listens (seccomp_unotify(2)).
        assert {first for _, first, _ in answers} <= {errno.ENODEV, errno.ENOSYS}
        assert {error for _, _, later in answers for error in later} <= {errno.ENODEV, errno.ENOSYS}
        if number == signal.SIGTERM:
            assert os.listdir(folder) == []


def test_children_go_on_after_their_parent(runner: Runner) -> None:
    source = VERSION + "if os.fork(): os._exit(5)\ntime.sleep(0.3); print(version())"
    done = runner.run("--", "/usr/bin/python3", "-c", source)
    assert (done.returncode, done.stdout) == (5, "served\n")


def test_a_private_die_ends_with_its_last_program(runner: Runner) -> None:
    with tempfile.TemporaryFile() as stderr:
        with subprocess.Popen(
            runner.command(
                "exec", "-q", "--", "/usr/bin/python3", "-c", VERSION + "print(version(), flush=True); time.sleep(600)"
            ),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=runner.environment,
        ) as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "served\n"
            assert dies(stderr.fileno())
            program.kill()
        assert eventually(lambda: not dies(stderr.fileno()))


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


def dies(stderr: int) -> list[str]:
    """Processes of the private dies of programs with this standard error, which a die's command line names."""
    status, found = os.fstat(stderr), []
    identity = json.dumps({"stderr": [status.st_dev, status.st_ino]})[1:-1].encode()
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            line = file.read()
            if b"fauxdna.host.private" in line and identity in line:
                found.append(pid)
    return found


WATCH = """
import ctypes, fcntl, os, signal, struct
fd = os.open("/dev/accel/accel0", os.O_RDWR)
def ioctl(number, form, *values):
    fcntl.ioctl(fd, 3 << 30 | struct.calcsize(form) << 16 | 0x6400 | number, bytearray(struct.pack(form, *values)), True)
# SET_STATE 6: the trace of firmware's events, of category 0; then GET_ARRAY 4 that waits for more than was ever written.
state = ctypes.create_string_buffer(struct.pack("<IIQ", 1, 1, 0), 16)
ioctl(0x48, "<IIQ", 6, 16, ctypes.addressof(state))
question = ctypes.create_string_buffer(bytes(48) + struct.pack("<QIB3x", 0, 48, 1), 64)
signals = []
signal.signal(signal.SIGALRM, lambda *_: signals.append("signal"))
signal.siginterrupt(signal.SIGALRM, True)
# Again and again: the first may come before the watch has begun.
signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
try:
    ioctl(0x4A, "<IIIIQ", 4, 64, 1, 0, ctypes.addressof(question))
except OSError as error:
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(signals[0], os.strerror(error.errno), sep="\\n")
"""


def test_a_signal_ends_a_watch_of_firmwares_events(runner: Runner) -> None:
    """``wait_event_interruptible`` of ``amdxdna_dpt_get_data``, which makes EINTR of it."""
    done = runner.run("--", "/usr/bin/python3", "-c", WATCH)
    assert done.stdout.splitlines() == ["signal", "Interrupted system call"], done.stderr
