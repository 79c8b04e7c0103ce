"""Many lives of open files, and programs that send anything, on a die that others use."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from _sandboxed import Runner
from test_daemon import Served, folder, serving

from fauxdna.abi.drm import CoreIoctl
from fauxdna.abi.uapi import Ioctl

__all__ = ["folder"]

CYCLES = int(os.environ.get("FAUXDNA_CYCLES", "3000"))
"""Opens in the endurance test; 100000 takes about a minute and a half."""
POSSIBLE = {
    0, errno.EPERM, errno.ENOENT, errno.EINTR, errno.EBADF, errno.ENOMEM, errno.EACCES, errno.EFAULT, errno.EBUSY, errno.ENODEV,
    errno.EINVAL, errno.EMFILE, errno.ENOTTY, errno.ENOSPC, errno.ENOSYS, errno.E2BIG, errno.ETIME, errno.EOPNOTSUPP,
}  # fmt: skip
"""What drm and amdxdna of Linux 7.2 return anywhere; EINTR is what a signal handler makes of ERESTARTSYS."""
PEACEFUL = """
import sys
from fauxdna.artifact import elf
from fauxdna.demo.small import small_model
import fauxdna, numpy as np
model = small_model()
given = np.frombuffer(model.input, np.float32)
with fauxdna.open("/dev/accel/accel0") as npu:
    print("ready", flush=True)
    while not sys.stdin.readline().startswith("stop"):
        output = np.zeros(len(model.output), np.uint8)
        npu.run_elf(model.elf, [given, output, np.zeros(max(1, model.workspace), np.uint8)])
        print("right" if output.tobytes() == model.output else "WRONG", flush=True)
"""
"""A program that runs a model for each line that it gets, and says whether its bytes are those of a die in the test's process."""


@pytest.fixture(scope="session")
def hostile() -> Iterator[Path]:
    """The C program, where an ordinary user may run it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler: apt install gcc libc6-dev")
    place = Path("/tmp") / f"fauxdna-hostile-{os.getpid()}"
    subprocess.run([compiler, "-O2", "-Wall", "-pthread", str(Path(__file__).parent / "hostile.c"), "-o", str(place)], check=True)
    place.chmod(0o755)
    yield place
    place.unlink()


@contextmanager
def program(runner: Runner, daemon: Served, *command: str) -> Iterator[subprocess.Popen[str]]:
    arguments = runner.command("exec", "--quiet", "--die", daemon.socket, "--", *command)
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=runner.environment) as process:
        try:
            yield process
        finally:
            process.kill()


def say(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdin
    assert process.stdout
    process.stdin.write(text + "\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def held(pid: int) -> tuple[int, int]:
    """Descriptors and resident KiB of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return len(os.listdir(f"/proc/{pid}/fd")), int(status.split("VmRSS:")[1].split()[0])


def settled(pid: int, most: int) -> int:
    """A process's descriptors once they change no more and are at most ``most``, or after a while."""
    until = time.monotonic() + 15
    before, now = -1, held(pid)[0]
    while (now != before or now > most) and time.monotonic() < until:
        time.sleep(0.3)
        before, now = now, held(pid)[0]
    return now


def test_lives_of_open_files_leave_nothing(runner: Runner, folder: str, hostile: Path) -> None:
    with serving(runner, folder) as daemon:
        with program(runner, daemon, str(hostile), "cycles", "/dev/accel/accel0", str(CYCLES)) as process:
            assert process.stdout
            assert process.stdout.readline() == "done\n"
            descriptors, kibibytes = held(daemon.process.pid)
            assert say(process, "again") == "done"
            after = held(daemon.process.pid)
            # A few files may wait for their turn to be closed; each has at most a handful of descriptors.
            assert after[0] <= descriptors + 16
            assert after[1] <= kibibytes + 4096
        assert settled(daemon.process.pid, descriptors) <= descriptors


@pytest.mark.parametrize("seed", [1, 2])
def test_random_ioctls_get_possible_answers_and_disturb_nobody(runner: Runner, folder: str, hostile: Path, seed: int) -> None:
    requests = [hex(int(number)) for number in (*Ioctl, *CoreIoctl)]
    with (
        serving(runner, folder) as daemon,
        program(runner, daemon, runner.python, "-c", PEACEFUL) as peaceful,
    ):
        assert peaceful.stdout
        assert peaceful.stdout.readline() == "ready\n"
        assert say(peaceful, "") == "right"
        command = [str(hostile), "fuzz", "/dev/accel/accel0", str(seed), "20000", *requests]
        with program(runner, daemon, *command) as fuzzer:
            assert fuzzer.stdout
            while fuzzer.poll() is None and say(peaceful, "") == "right":
                pass
            pairs = [tuple(map(int, line.split())) for line in fuzzer.stdout]
            assert fuzzer.wait() == 0
        assert say(peaceful, "") == "right"
        assert {number for number, _ in pairs} >= {int(number) & 0xFF for number in Ioctl}
        assert {error for _, error in pairs} <= POSSIBLE
        assert daemon.process.poll() is None


def test_programs_killed_at_any_moment_disturb_nobody(runner: Runner, folder: str, hostile: Path) -> None:
    chance = random.Random(7)
    requests = [hex(int(number)) for number in (*Ioctl, *CoreIoctl)]
    with (
        serving(runner, folder) as daemon,
        program(runner, daemon, runner.python, "-c", PEACEFUL) as peaceful,
    ):
        assert peaceful.stdout
        assert peaceful.stdout.readline() == "ready\n"
        assert say(peaceful, "") == "right"
        for index in range(24):
            if index == 4:
                # What is made once is there.
                descriptors = settled(daemon.process.pid, 1 << 30)
            command = (
                [str(hostile), "cycles", "/dev/accel/accel0", "100000"]
                if index % 2
                else [str(hostile), "fuzz", "/dev/accel/accel0", str(index + 1), "1000000", *requests]
            )
            with program(runner, daemon, *command) as victim:
                time.sleep(chance.uniform(0.05, 0.25))
                victim.send_signal(signal.SIGKILL)
                victim.wait()
            assert say(peaceful, "") == "right"
        # The cache of callers may hold the peaceful program's thread.
        assert settled(daemon.process.pid, descriptors + 1) <= descriptors + 1
