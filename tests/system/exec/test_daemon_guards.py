"""What one user of a daemon may not do to another: take all there is, hold it up, or take its place."""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from _patience import PATIENCE, eventually
from _sandboxed import Runner
from test_daemon import descriptors, serving
from test_daemon import folder as folder

from fauxdna.accel.machine import Machine
from fauxdna.errors import Busy, FauxdnaError
from fauxdna.host import _wire
from fauxdna.host.daemon import PER_USER, SILENCE_S, Daemon, Server
from fauxdna.host.dies import bring_up
from fauxdna.host.listening import listen
from fauxdna.log import Log

LISTENER = """
import os, socket, sys
from fauxdna.host._filter import install_filter
with socket.socket(fileno=int(sys.argv[1])) as link:
    socket.send_fds(link, [b"x"], [install_filter()])
    link.recv(1)
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with bring_up("0000:05:00.0") as machine:
        yield machine


@contextmanager
def server(machine: Machine, folder: str, per_user: int = PER_USER) -> Iterator[tuple[Daemon, Server]]:
    """A daemon in this process, at ``die.sock``."""
    log = Log()
    daemon = Daemon([machine], log)
    made = Server(daemon, f"{folder}/die.sock", log, per_user=per_user)
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        yield daemon, made
    finally:
        made.stop()
        thread.join()
        daemon.close()
        made.close()


def stop(process: subprocess.Popen[str]) -> None:
    """Returns when each of its threads has stopped."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)


def ask(folder: str) -> socket.socket:
    """A launcher that has asked, and not handed anything over."""
    link = _wire.connect(f"{folder}/die.sock")
    try:
        _wire.ask(link, {"open": [False], "uapi": "next"})
    except BaseException:
        link.close()
        raise
    return link


def hand_over(folder: str, sent: list[int]) -> str:
    """Sends descriptors as a launcher does; what the daemon says."""
    with _wire.connect(f"{folder}/die.sock") as link:
        nodes = _wire.ask(link, {"open": [False], "uapi": "next"})["nodes"]
        with pytest.raises(FauxdnaError) as caught:
            _wire.ask(link, {"run": "x", "nodes": [nodes[0]["bdf"]]}, sent)
    return str(caught.value)


@pytest.fixture
def listener() -> Iterator[int]:
    """A process's seccomp listener."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-c", LISTENER, str(theirs.fileno())]
    with ours, theirs, subprocess.Popen(command, pass_fds=[theirs.fileno()]) as process:
        _, (received,), _, _ = socket.recv_fds(ours, 1, 1)
        yield received
        os.close(received)
        ours.send(b"x")
        process.wait(PATIENCE)


# --- how much ------------------------------------------------------------------------------------------------------------


def test_launchers_of_one_user_are_counted(machine: Machine, folder: str) -> None:
    with server(machine, folder, per_user=3), ExitStack() as links:
        first = [links.enter_context(ask(folder)) for _ in range(3)]
        with pytest.raises(FauxdnaError, match=r"has 3 sandboxes and launchers .*; .* fauxdna serve --per-user N") as caught:
            ask(folder)
        assert caught.value.errno == errno.EUSERS
        first[0].close()

        def admitted() -> bool:
            with suppress(FauxdnaError):
                ask(folder).close()
                return True
            return False

        assert eventually(admitted)


def test_a_flood_of_launchers_leaves_nothing(machine: Machine, folder: str) -> None:
    with server(machine, folder, per_user=8):
        ask(folder).close()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(500):
            with suppress(FauxdnaError), _wire.connect(f"{folder}/die.sock"):
                pass
        assert eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)

        def admitted() -> bool:
            with suppress(FauxdnaError):
                ask(folder).close()
                return True
            return False

        assert eventually(admitted)


def test_programs_of_one_user_are_counted(runner: Runner, folder: str) -> None:
    with serving(runner, folder, "--per-user", "2") as daemon:
        read, write = os.pipe()
        command = runner.command("exec", "-q", "--die", daemon.socket, "--", "sh", "-c", "echo here; read line")
        programs = [
            subprocess.Popen(command, stdin=read, stdout=subprocess.PIPE, text=True, env=runner.environment) for _ in range(2)
        ]
        for program in programs:
            assert program.stdout
            assert program.stdout.readline() == "here\n"
        done = runner.run("--die", daemon.socket, "--", "true")
        assert (done.returncode, done.stdout) == (125, "")
        assert "start it with more: fauxdna serve --per-user N [EUSERS]" in done.stderr
        os.close(write)
        os.close(read)
        for program in programs:
            program.wait(PATIENCE)
            if program.stdout:
                program.stdout.close()
        assert eventually(lambda: runner.run("--die", daemon.socket, "--", "true").returncode == 0)


# --- how long ------------------------------------------------------------------------------------------------------------


def test_who_says_nothing_is_hung_up_on(machine: Machine, folder: str) -> None:
    with server(machine, folder) as (_, made), ask(folder) as half:
        # Not before the first has asked, however long that took. The second makes the server look.
        made.silence = 0.2
        with _wire.connect(f"{folder}/die.sock") as silent:
            for link in (silent, half):
                link.settimeout(PATIENCE)
                answer, _ = _wire.receive(link)
                assert (answer["problem"], answer["errno"]) == ("nothing was asked for 0.2 s", errno.ETIMEDOUT)
                with pytest.raises(FauxdnaError, match="the other side of the die's socket has gone"):
                    _wire.receive(link)
        made.silence = SILENCE_S
        ask(folder).close()


def lingering() -> int:
    """A TCP socket whose last close waits for an hour: nobody reads what it still has to send."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client = socket.create_connection(server.getsockname())
        _kept.append(server.accept()[0])
    client.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            client.send(bytes(1 << 16))
    client.setblocking(True)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    return client.detach()


_kept: list[socket.socket] = []


@pytest.mark.parametrize("message", [b"{}", b"nonsense"])
def test_a_socket_that_lingers_holds_up_nobody(own: Runner, folder: str, message: bytes) -> None:
    with serving(own, folder) as daemon:
        before = descriptors(daemon.process.pid)
        sent = lingering()
        with _wire.connect(daemon.socket) as link:
            # Whoever closes it last lingers: that has to be the daemon.
            stop(daemon.process)
            socket.send_fds(link, [message], [sent])
            os.close(sent)
            daemon.process.send_signal(signal.SIGCONT)
            link.settimeout(PATIENCE)
            assert b"problem" in link.recv(1 << 16)
            ask(folder).close()
        assert own.run("--die", daemon.socket, "--", "true").returncode == 0
        # Who reads at last lets it go.
        _kept.pop().close()
        assert eventually(lambda: descriptors(daemon.process.pid) <= before)


def test_a_socket_that_lingers_unread_holds_up_nobody(own: Runner, folder: str) -> None:
    """One launcher too many is not read, and neither is what follows a refused message. Its user has one less meanwhile."""
    with serving(own, folder, "--per-user", "2") as daemon:
        sent = lingering()
        with ask(folder) as first, ask(folder), ExitStack() as links:
            stop(daemon.process)
            second = links.enter_context(_wire.connect(daemon.socket))
            socket.send_fds(second, [b"{}"], [sent])
            first.send(b"{}")
            socket.send_fds(first, [b"{}"], [sent])
            os.close(sent)
            daemon.process.send_signal(signal.SIGCONT)
            for link in (first, second):
                link.settimeout(PATIENCE)
                # What it says comes after the news that something was left unread.
                with suppress(ConnectionResetError):
                    assert b"problem" in link.recv(1 << 16)
                    continue
                assert b"problem" in link.recv(1 << 16)
        assert eventually(lambda: own.run("--die", daemon.socket, "--", "true").returncode == 0)
        _kept.pop().close()


def may_fuse() -> bool:
    """Whether this is root, who may open /dev/fuse: some containers show it to nobody's use."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError:
        return False
    return os.geteuid() == 0


@pytest.mark.skipif(not may_fuse(), reason="needs root and /dev/fuse")
@pytest.mark.parametrize("as_listener", [True, False])
def test_a_file_whose_owner_does_not_answer_holds_up_nobody(own: Runner, folder: str, listener: int, as_listener: bool) -> None:
    with serving(own, folder) as daemon, socket.socket(socket.AF_UNIX) as meeting, tempfile.NamedTemporaryFile() as place:
        before = descriptors(daemon.process.pid)
        meeting.bind(f"{folder}/meeting")
        meeting.listen()
        command = [sys.executable, str(Path(__file__).parent / "_fuse.py"), place.name, f"{folder}/meeting"]
        with subprocess.Popen([*command, str(daemon.process.pid)]) as owner:
            meeting.settimeout(PATIENCE)
            with meeting.accept()[0] as link:
                _, (file,), _, _ = socket.recv_fds(link, 1, 1)
                said = hand_over(folder, [file, file] if as_listener else [listener, file])
                assert ("no seccomp listener" if as_listener else "device file 0 is no memfd") in said
                os.close(file)
                ask(folder).close()
                assert own.run("--die", daemon.socket, "--", "true").returncode == 0
            # Everybody is answered now, and the files close.
            assert eventually(lambda: descriptors(daemon.process.pid) <= before)
            owner.kill()
        os.unlink(f"{folder}/meeting")


@pytest.mark.parametrize("kind", ["file", "device", "pipe", "socket", "read-only", "large pages"])
def test_what_is_no_device_file_is_refused(machine: Machine, folder: str, listener: int, kind: str) -> None:
    if kind == "file":
        with tempfile.TemporaryFile(dir="/var/tmp") as file:
            sent = os.dup(file.fileno())
    elif kind == "device":
        sent = os.open("/dev/zero", os.O_RDWR)
    elif kind == "pipe":
        sent, other = os.pipe()
        os.close(other)
    elif kind == "socket":
        sent = socket.socket().detach()
    elif kind == "read-only":
        writable = os.memfd_create("node")
        sent = os.open(f"/proc/self/fd/{writable}", os.O_RDONLY)
        os.close(writable)
    else:
        try:
            sent = os.memfd_create("node", os.MFD_HUGETLB)
        except OSError as error:
            pytest.skip(f"no memory with large pages: {error.strerror}")
    with server(machine, folder) as (daemon, _):
        said = hand_over(folder, [listener, sent])
        assert "device file 0 is no memfd and no file of a tmpfs, open for reading and writing" in said
        assert daemon.sandboxes == 0
        ask(folder).close()
    os.close(sent)


# --- whose place ---------------------------------------------------------------------------------------------------------


def test_one_of_many_daemons_gets_a_stale_socket(folder: str) -> None:
    path = f"{folder}/die.sock"
    for _ in range(30):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stale:
            stale.bind(path)
        results: list[socket.socket | Busy] = []
        start = threading.Barrier(6)

        def run(start: threading.Barrier = start, results: list[socket.socket | Busy] = results) -> None:
            start.wait()
            try:
                results.append(listen(path))
            except Busy as error:
                results.append(error)

        threads = [threading.Thread(target=run) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        listeners = [result for result in results if isinstance(result, socket.socket)]
        assert (len(listeners), len(results)) == (1, 6)
        with _wire.connect(path), listeners[0].accept()[0]:
            pass
        assert os.listdir(folder) == ["die.sock"]
        listeners[0].close()
        os.unlink(path)


def test_what_is_no_socket_is_left_alone(own: Runner, folder: str) -> None:
    path = Path(folder, "precious")
    path.write_text("data")
    done = subprocess.run(
        own.command("serve", "--socket", str(path)), capture_output=True, text=True, check=False, env=own.environment
    )
    assert done.returncode == 1
    assert f"{path} is no socket; name another place: --socket PATH [EADDRINUSE]" in done.stderr
    assert path.read_text() == "data"
    assert os.listdir(folder) == ["precious"]
