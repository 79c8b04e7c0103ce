"""Many lives of open files, and programs that send anything, on a die that others use."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from _fuzzed import arguments
from _linux_errno import possible
from _patience import eventually
from _sandboxed import Runner
from _usage import grew, names, usage
from test_daemon import folder, serving

from fauxdna.abi import bars
from fauxdna.abi.drm import CoreIoctl
from fauxdna.abi.uapi import BoType, Ioctl
from fauxdna.accel import Qos
from fauxdna.accel.machine import Machine
from fauxdna.host.daemon import Daemon, Server
from fauxdna.host.dies import bring_up
from fauxdna.log import Level as LogLevel
from fauxdna.log import Log

__all__ = ["folder"]

CYCLES = int(os.environ.get("FAUXDNA_CYCLES", "2000"))
"""Opens in the endurance test; 100000 takes about a minute and a half."""
CALLS = int(os.environ.get("FAUXDNA_FUZZ_CALLS", "6000"))
"""Ioctls of the fuzzer; a million takes about two minutes."""
KILLED = int(os.environ.get("FAUXDNA_FUZZ_KILLED", "16"))
SEED = int(os.environ.get("FAUXDNA_FUZZ_SEED", "1"))
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


def compiled(name: str) -> Iterator[Path]:
    """A C program, where an ordinary user may run it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler: apt install gcc libc6-dev")
    place = Path("/tmp") / f"fauxdna-{name}-{os.getpid()}"
    source = Path(__file__).parent / f"{name}.c"
    subprocess.run([compiler, "-O2", "-Wall", "-Werror", "-pthread", str(source), "-o", str(place)], check=True)
    place.chmod(0o755)
    yield place
    place.unlink()


@pytest.fixture(scope="session")
def cycles() -> Iterator[Path]:
    """Opens, maps and closes."""
    yield from compiled("cycles")


@pytest.fixture(scope="session")
def fuzzer() -> Iterator[Path]:
    """Sends anything."""
    yield from compiled("fuzzer")


@contextmanager
def serving_here(runner: Runner, folder: str) -> Iterator[tuple[str, Machine]]:
    """A daemon in this process, so that everything it holds can be counted: its socket and its machine. It has been used."""
    log = Log()
    with bring_up("0000:05:00.0", log=log) as machine:
        # What is made at its first use and kept: each vector's eventfd.
        with machine.open() as file:
            queue = file.create_bo(8192, BoType.SHARE)
            for _ in bars.CONTEXT_VECTORS:
                file.create_hwctx(queue, 1, Qos())
        daemon = Daemon([machine], log)
        server = Server(daemon, f"{folder}/die.sock", log)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            with neighbour(runner, f"{folder}/die.sock"):
                pass
            assert eventually(lambda: not daemon.sandboxes)
            yield f"{folder}/die.sock", machine
        finally:
            server.stop()
            thread.join()
            daemon.close()
            server.close()
    assert not [str(entry) for entry in log.entries(LogLevel.ERROR) if " failed: " in str(entry)], "nothing but refusals"


@contextmanager
def program(runner: Runner, die: str, *command: str) -> Iterator[subprocess.Popen[str]]:
    arguments = runner.command("exec", "--quiet", "--uapi", "7.2", "--die", die, "--", *command)
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


def test_lives_of_open_files_leave_nothing(runner: Runner, folder: str, cycles: Path) -> None:
    with serving(runner, folder) as daemon, program(runner, daemon.socket, str(cycles), "/dev/accel/accel0", "1") as first:
        assert first.stdout
        assert first.stdout.readline() == "done\n"
        # A file may wait for its turn to be closed, and then this is more than there has to be.
        descriptors, _ = held(daemon.process.pid)
        with program(runner, daemon.socket, str(cycles), "/dev/accel/accel0", str(CYCLES)) as process:
            assert process.stdout
            assert process.stdout.readline() == "done\n"

            def grown() -> int:
                """KiB for as many lives once more."""
                before = held(daemon.process.pid)[1]
                assert say(process, "again") == "done"
                return held(daemon.process.pid)[1] - before

            # What grows with lives does so each time; heaps of threads that come under load do so a few times.
            assert any(grown() <= 4096 for _ in range(5))
        assert eventually(lambda: held(daemon.process.pid)[0] <= descriptors)


@contextmanager
def neighbour(runner: Runner, die: str) -> Iterator[subprocess.Popen[str]]:
    """A well-behaved program on the same function."""
    with program(runner, die, runner.python, "-c", PEACEFUL) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        assert say(process, "") == "right"
        yield process
        assert say(process, "") == "right"


def left(machine: Machine) -> tuple[int, ...]:
    """What programs have of a machine, and this process of programs."""
    functions = machine.nodes.values()
    memory, clients = sum(function.memory.count for function in functions), sum(len(function.clients) for function in functions)
    contexts = sum(len(client.contexts()) for function in functions for client in function.clients)
    return memory, clients, contexts, *usage("accel")


def test_each_ioctl_answers_as_linux_may_and_disturbs_nobody(runner: Runner, folder: str, fuzzer: Path) -> None:
    allowed = possible(root=not runner.prefix and os.geteuid() == 0)
    with serving_here(runner, folder) as (die, machine):
        before, known = left(machine), names()
        with neighbour(runner, die) as peaceful:
            command = [str(fuzzer), "/dev/accel/accel0", str(SEED), str(CALLS), *arguments()]
            with program(runner, die, *command) as fuzzed:
                assert fuzzed.stdout
                while fuzzed.poll() is None and say(peaceful, "") == "right":
                    pass
                seen = [(int(number), int(error)) for number, error in (line.split() for line in fuzzed.stdout)]
                assert fuzzed.wait() == 0
        wrong = [f"{number:#x}: {os.strerror(error)}" for number, error in seen if error not in allowed[number]]
        assert not wrong
        assert {number for number, _ in seen} >= {int(number) & 0xFF for number in (*Ioctl, *CoreIoctl)}
        assert grew(before, lambda: left(machine)) == (0,) * len(before), names() - known
    assert os.listdir(folder) == []


def test_programs_killed_at_any_moment_disturb_nobody(runner: Runner, folder: str, cycles: Path, fuzzer: Path) -> None:
    chance = random.Random(SEED)
    with serving_here(runner, folder) as (die, machine):
        before, known = left(machine), names()
        with neighbour(runner, die) as peaceful, ExitStack() as running:
            for index in range(KILLED):
                command = (
                    [str(cycles), "/dev/accel/accel0", "100000"]
                    if index % 3 == 2
                    else [str(fuzzer), "/dev/accel/accel0", str(SEED + index), "0", *arguments()]
                )
                victim = running.enter_context(program(runner, die, *command))
                if index % 2:
                    # Two at a time, so that one dies while the other's calls are served.
                    continue
                time.sleep(chance.uniform(0.05, 0.25))
                victim.send_signal(signal.SIGKILL)
                victim.wait()
                assert say(peaceful, "") == "right"
                if index % 4 == 2:
                    running.close()
        assert grew(before, lambda: left(machine)) == (0,) * len(before), names() - known
    assert os.listdir(folder) == []
