"""``fauxdna serve``: one die for many programs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from _patience import PATIENCE, eventually
from _sandboxed import NOBODY, Runner

from fauxdna.errors import FauxdnaError
from fauxdna.host import _wire

NODES = "cd /sys/bus/pci/drivers/amdxdna; echo *"


class Served:
    """A daemon that is ready."""

    def __init__(self, process: subprocess.Popen[str], socket: str, functions: list[str]) -> None:
        self.process = process
        self.socket = socket
        self.functions = functions


@contextmanager
def serving(runner: Runner, folder: str, *options: str) -> Iterator[Served]:
    path = f"{folder}/die.sock"
    command = runner.command("serve", "--socket", path, "--json", *options)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=runner.environment) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            assert line, process.stderr and process.stderr.read()
            document = json.loads(line)
            yield Served(process, document["socket"], document["functions"])
        finally:
            process.kill()


@pytest.fixture
def folder() -> Iterator[str]:
    """A directory where an ordinary user may make sockets."""
    with tempfile.TemporaryDirectory() as made:
        os.chmod(made, 0o777)
        yield made


def test_programs_get_the_functions_that_fewest_others_have(runner: Runner, folder: str) -> None:
    with serving(runner, folder, "--vfs", "2") as daemon:
        assert [name[-4:] for name in daemon.functions] == ["00.0", "00.1", "00.2"]
        read, write = os.pipe()
        command = runner.command("exec", "-q", "--die", daemon.socket, "--", "sh", "-c", f"{NODES}; read line")
        programs = [
            subprocess.Popen(command, stdin=read, stdout=subprocess.PIPE, text=True, env=runner.environment) for _ in range(5)
        ]
        # Each shell prints before it waits, and the next is only asked for what is left when the one before was served.
        seen = [program.stdout.readline().strip()[-4:] for program in programs if program.stdout]
        os.close(write)
        os.close(read)
        for program in programs:
            assert program.wait(PATIENCE) in (0, 1)
            if program.stdout:
                program.stdout.close()
        assert sorted(seen) in (["00.1"] * 2 + ["00.2"] * 3, ["00.1"] * 3 + ["00.2"] * 2)


def test_a_sandbox_may_have_several_functions(runner: Runner, folder: str) -> None:
    with serving(runner, folder, "--vfs", "2") as daemon:
        done = runner.run("--die", daemon.socket, "--functions", "pf,vf=2", "--", "sh", "-c", NODES)
        assert done.stdout.split() == daemon.functions
        done = runner.run("--die", daemon.socket, "--functions", "vf=3", "--", "true")
        assert done.returncode == 125
        assert "this die has 2; start it with more: fauxdna serve --vfs N [EBUSY]" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_order_and_leaves_nothing(runner: Runner, folder: str, number: int) -> None:
    with serving(runner, folder) as daemon:
        daemon.process.send_signal(number)
        assert daemon.process.wait(PATIENCE) == 0
        assert os.listdir(folder) == []
        assert runner.run("--die", daemon.socket, "--", "true").returncode == 125


def test_a_killed_daemons_socket_is_taken_over(runner: Runner, folder: str) -> None:
    with serving(runner, folder) as daemon:
        daemon.process.kill()
        daemon.process.wait(PATIENCE)
        assert os.listdir(folder) == ["die.sock"]
    with serving(runner, folder) as daemon:
        assert runner.run("--die", daemon.socket, "--", "true").returncode == 0


def test_a_living_daemons_socket_is_not(runner: Runner, folder: str) -> None:
    with serving(runner, folder) as daemon:
        done = subprocess.run(
            runner.command("serve", "--socket", daemon.socket),
            capture_output=True,
            text=True,
            check=False,
            env=runner.environment,
        )
        assert done.returncode == 1
        assert "a daemon listens at" in done.stderr
        assert runner.run("--die", daemon.socket, "--", "true").returncode == 0


def test_other_users_are_refused(user: Runner, folder: str) -> None:
    if not user.prefix:
        pytest.skip("needs root to be two users")
    other = replace(user, prefix=("setpriv", "--reuid=65533", "--regid=65533", "--clear-groups"))
    with serving(user, folder) as daemon:
        os.chmod(daemon.socket, 0o666)
        done = other.run("--die", daemon.socket, "--", "true")
        assert done.returncode == 125
        assert f"this die is user {NOBODY}'s; start one of your own: fauxdna serve [EACCES]" in done.stderr


def test_roots_daemon_serves_users(user: Runner, folder: str) -> None:
    if not user.prefix:
        pytest.skip("needs root")
    with serving(replace(user, prefix=()), folder) as daemon:
        assert user.run("--die", daemon.socket, "--", "sh", "-c", NODES).stdout.split() == daemon.functions[1:2]


HOSTILE = [
    b"",
    b"{",
    b"[]",
    b"[" * 60000,
    b"{}",
    b'{"open": "x"}',
    b'{"open": [7], "uapi": null}',
    b'{"open": [false, false, false, false, false, false]}',
    b'{"nodes": ["0000:05:00.1"], "run": "x"}',
    b"x" * 200_000,
]


@pytest.mark.parametrize("with_descriptor", [False, True])
@pytest.mark.parametrize("data", HOSTILE, ids=lambda data: data[:12].decode())
def test_nonsense_is_refused_and_harms_nobody(own: Runner, folder: str, data: bytes, with_descriptor: bool) -> None:
    with serving(own, folder, "--vfs", "2") as daemon:
        before = descriptors(daemon.process.pid)
        for _ in range(20):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
                link.connect(daemon.socket)
                try:
                    socket.send_fds(link, [data], [0, 1] if with_descriptor else [])
                    link.settimeout(PATIENCE)
                    link.recv(1 << 16)
                except OSError:
                    continue
        assert own.run("--die", daemon.socket, "--", "true").returncode == 0
        assert eventually(lambda: descriptors(daemon.process.pid) <= before), "descriptors are left"


@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_what_is_no_sandbox_is_refused_and_harms_nobody(own: Runner, folder: str, kind: str) -> None:
    with serving(own, folder) as daemon, tempfile.TemporaryFile() as file:
        before = descriptors(daemon.process.pid)
        pipe = os.pipe()
        sent = list(pipe) if kind == "pipe" else [file.fileno()] * 2
        with _wire.connect(daemon.socket) as link:
            nodes = _wire.ask(link, {"open": [False], "uapi": "next"})["nodes"]
            with pytest.raises(FauxdnaError, match="is no seccomp listener"):
                _wire.ask(link, {"run": "x", "nodes": [nodes[0]["bdf"]]}, sent)
        for descriptor in pipe:
            os.close(descriptor)
        assert own.run("--die", daemon.socket, "--", "true").returncode == 0
        assert eventually(lambda: descriptors(daemon.process.pid) <= before), "descriptors are left"


def test_who_connects_and_says_nothing_holds_up_nobody(user: Runner, folder: str) -> None:
    with serving(user, folder) as daemon:
        silent = [_wire.connect(daemon.socket) for _ in range(50)]
        assert user.run("--die", daemon.socket, "--", "true").returncode == 0
        for link in silent:
            link.close()


def test_systemd_is_told(runner: Runner, folder: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"{folder}/notify")
        os.chmod(f"{folder}/notify", 0o777)
        manager.settimeout(PATIENCE)
        told = replace(runner, environment=runner.environment | {"NOTIFY_SOCKET": f"{folder}/notify"})
        with serving(told, folder) as daemon:
            assert manager.recv(100) == b"READY=1"
            daemon.process.terminate()
            assert manager.recv(100) == b"STOPPING=1"
    Path(folder, "notify").unlink()


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
