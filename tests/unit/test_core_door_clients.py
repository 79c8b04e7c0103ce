"""Which open file description an ioctl is about, and when it ends."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest
from _patience import PATIENCE, eventually
from door_harness import KEEP, NOOP, Handler, Program

from fauxdna._core import Call

CYCLES = """
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>
int main(int count, char **arguments) {
    for (long left = atol(arguments[2]); left > 0; left--) {
        int file = open(arguments[1], O_RDWR);
        if (file < 0 || ioctl(file, 0xC0006400, 0) != 0) return 1;
        close(file);
    }
    return 0;
}
"""


def test_duplicates_share_a_client_and_a_second_open_has_its_own() -> None:
    source = f"""
f, g = node(), node()
ioctl(f, {NOOP}); ioctl(os.dup(f), {NOOP}); ioctl(g, {NOOP})
a, b = socket.socketpair()
socket.send_fds(a, [b"x"], [f])
passed = socket.recv_fds(b, 1, 1)[1][0]
ioctl(passed, {NOOP})
if os.fork() == 0:
    ioctl(f, {NOOP})
    os.set_inheritable(g, True)
    os.execv(sys.executable, [sys.executable, "-c", "import fcntl, sys; fcntl.ioctl(int(sys.argv[1]), {NOOP})", str(g)])
os.wait()
"""
    with Program(source) as program:
        program.finish()
    f, _, g, *_ = program.handler.clients
    assert f != g
    assert program.handler.clients == [f, f, g, f, f, g]


def test_a_moved_position_changes_nothing() -> None:
    source = f"""
f, g = node(), node()
for n in range(3):
    ioctl(f, {NOOP}); ioctl(g, {NOOP})
    os.lseek(f, n * 7, os.SEEK_SET)
    os.lseek(g, os.lseek(f, 0, os.SEEK_CUR), os.SEEK_SET)
ioctl(f, {NOOP})
os.lseek(g, os.lseek(f, 0, os.SEEK_CUR), os.SEEK_SET)
ioctl(g, {NOOP})
"""
    with Program(source) as program:
        program.finish()
    f, g = program.handler.clients[:2]
    assert f != g
    assert program.handler.clients == [f, g] * 4


@pytest.mark.parametrize("mode", ["os.O_RDONLY", "os.O_WRONLY", "os.O_RDWR | os.O_APPEND | os.O_NONBLOCK"])
def test_every_way_to_open(mode: str) -> None:
    source = (
        f"f = os.open(NODES[0], {mode})\nsay(ioctl(f, {NOOP}), ioctl(f, {NOOP}))\nos.close(f)\nsay('shut'); sys.stdin.readline()"
    )
    with Program(source) as program:
        handler = program.handler
        assert program.line() == "0 0"
        assert program.line() == "shut"
        handler.wait_for(lambda: handler.count("closed") == 1)
        assert len(set(handler.clients)) == 1
        program.go()
        program.finish()


def test_a_client_ends_with_its_last_descriptor_and_mapping() -> None:
    source = f"""
f = node()
ioctl(f, {NOOP})
copy = os.dup(f)
mapping = mmap.mmap(f, 4096)
os.close(f); os.close(copy)
say(len([name for name in os.listdir("/proc/self/fd") if name > "2"])); sys.stdin.readline()
mapping.close()
say("unmapped"); sys.stdin.readline()
"""
    with Program(source) as program:
        handler = program.handler
        program.line()
        ioctls = handler.count("call")
        program.go()
        assert program.line() == "unmapped"
        handler.wait_for(lambda: handler.count("closed") == 1)
        assert ioctls == 1
        program.go()
        program.finish()
    assert handler.count("closed") == 1


def test_a_mapping_alone_keeps_its_client() -> None:
    source = f"""
f = node()
ioctl(f, {NOOP})
mapping = mmap.mmap(f, 4096)
# A mapping of Python's holds a duplicate; one of libc's has none.
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
page = libc.mmap(None, 4096, 3, 1, f, 0)
mapping.close(); os.close(f)
g = node()
ioctl(g, {NOOP})
say("closed"); sys.stdin.readline()
"""
    with Program(source) as program:
        handler = program.handler
        assert program.line() == "closed"
        # Its close would have been told of before the second client's call.
        assert handler.count("call") == 2
        assert handler.count("closed") == 0
        program.go()
        program.finish()


def test_a_close_is_told_before_the_next_call() -> None:
    source = f"""
for n in range(200):
    f = node()
    ioctl(f, {NOOP})
    os.close(f)
"""
    with Program(source) as program:
        program.finish()
        handler = program.handler
        handler.wait_for(lambda: handler.count("ended") == 1)
    calls = [client for what, client in handler.events if what == "call"]
    assert len(set(calls)) == 200
    expected = [event for client in calls for event in (("call", client), ("closed", client))]
    assert handler.events == [*expected, ("ended", 0)]


def test_a_forked_child_keeps_a_client_and_a_killed_one_ends_it() -> None:
    source = f"""
f = node()
ioctl(f, {NOOP})
child = os.fork()
if child == 0:
    say("child"); time.sleep(600)
os.close(f)
g = node()
ioctl(g, {NOOP})
sys.stdin.readline()
os.kill(child, 9); os.wait()
ioctl(g, {NOOP})
say("killed"); sys.stdin.readline()
"""
    with Program(source) as program:
        handler = program.handler
        assert program.line() == "child"
        handler.wait_for(lambda: handler.count("call") == 2)
        assert handler.count("closed") == 0
        program.go()
        assert program.line() == "killed"
        first = handler.clients[0]
        handler.wait_for(lambda: ("closed", first) in handler.events)
        program.go()
        program.finish()


def test_a_client_outlives_its_descriptor_while_a_call_waits() -> None:
    source = f"""
f = node()
thread = threading.Thread(target=lambda: say(ioctl(f, {KEEP}))); thread.start()
sys.stdin.readline()
os.close(f)
g = node()
say(ioctl(g, {NOOP}))
thread.join(); sys.stdin.readline()
"""
    with Program(source) as program:
        handler = program.handler
        handler.wait_kept()
        program.go()
        assert program.line() == "0"
        assert handler.count("closed") == 0
        handler.kept[0].reply()
        assert program.line() == "0"
        handler.wait_for(lambda: handler.count("closed") == 1)
        assert handler.events[-1] == ("closed", handler.kept[0].client)
        program.go()
        program.finish()


def test_a_program_that_takes_our_lock_away_loses_its_client_only() -> None:
    source = f"""
import struct
f = node()
ioctl(f, {NOOP})
fcntl.fcntl(f, 37, struct.pack("hhqqi4x", fcntl.F_UNLCK, 0, 0, 0, 0))
os.close(node())
sys.stdin.readline()
say(ioctl(f, {NOOP}))
whole = node()
fcntl.fcntl(whole, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
say(ioctl(whole, {NOOP}), ioctl(node(), {NOOP}))
"""
    with Program(source) as program:
        # The close makes the door look and find the client gone: the next call makes a new one, with a lock.
        handler = program.handler
        handler.wait_for(lambda: handler.count("closed") == 1)
        program.go()
        assert program.line() == "0"
        # F_OFD_SETLK of the whole file is refused while another client holds a byte of it.
        assert program.process.wait(PATIENCE) == 1
        handler.wait_for(lambda: handler.count("ended") == 1)
    assert len(set(handler.clients)) == 2
    assert {client for what, client in handler.events if what == "closed"} == set(handler.clients)


@pytest.mark.slow
def test_a_hundred_thousand_opens_leave_nothing(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc (apt install gcc)")
    (tmp_path / "cycles.c").write_text(CYCLES)
    subprocess.run(["gcc", "-O2", "-o", tmp_path / "cycles", tmp_path / "cycles.c"], check=True)

    class Quiet(Handler):
        ended_clients = 0

        def note(self, what: str, client: int) -> None:
            self.ended_clients += what == "closed"

        def call(self, call: Call) -> None:
            call.reply()

    def run(count: int) -> tuple[int, int]:
        handler = Quiet()
        with Program(argv=[str(tmp_path / "cycles")], handler=handler, arguments=[str(count)]) as program:
            program.finish()
            assert eventually(lambda: handler.ended_clients == count)
            return len(os.listdir("/proc/self/fd")), resident()

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    before = run(1000)
    after = run(100_000)
    # The cache of callers may hold the last one.
    assert after[0] <= before[0] + 1
    # 100,000 clients of even 64 bytes each would be 6 MiB.
    assert after[1] - before[1] < 4 << 20


def test_threads_that_come_and_go_leave_no_descriptors() -> None:
    source = f"""
f = node()
def call(): assert ioctl(f, {NOOP}) == 0
for _ in range(20):
    threads = [threading.Thread(target=call) for _ in range(50)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
say("done"); sys.stdin.readline()
"""
    with Program(source) as program:
        before = len(os.listdir("/proc/self/fd"))
        assert program.line() == "done"
        # A pidfd for each of the last 32 threads at most; whoever answered the last call may still have it for a moment.
        assert eventually(lambda: len(os.listdir("/proc/self/fd")) <= before + 32)
        assert program.handler.count("call") == 1000
        program.go()
        program.finish()


def test_an_id_that_is_used_again_is_not_taken_for_its_old_holder() -> None:
    last = Path("/proc/sys/kernel/ns_last_pid")
    if os.geteuid() != 0 or not last.exists():
        pytest.skip("needs root and /proc/sys/kernel/ns_last_pid to choose a process id")
    source = f"""
f, other = node(), node()
ioctl(other, {NOOP})
def child(use):
    pid = os.fork()
    if pid == 0:
        # The same descriptor number in both children.
        os.dup2(use, 100)
        ioctl(100, {NOOP}); ioctl(100, {KEEP})
        os._exit(0)
    return pid
first = child(f)
say(first); sys.stdin.readline()
os.kill(first, 9); os.waitpid(first, 0)
for _ in range(50):
    open("{last}", "w").write(str(first - 1))
    second = child(other)
    if second == first: break
    os.kill(second, 9); os.waitpid(second, 0)
say(second); sys.stdin.readline()
os.kill(second, 9)
"""
    with Program(source) as program:
        handler = program.handler
        first = int(program.line())
        handler.wait_kept()
        old = handler.kept[0]
        program.go()
        second = int(program.line())
        # Children with other numbers may have come as far as their second call before they were killed.
        handler.wait_for(lambda: handler.kept[-1] is not old and handler.kept[-1].tid == second)
        if second == first:
            new = handler.kept[-1]
            assert old.tid == first
            assert new.client == handler.clients[0] != old.client
            with pytest.raises(OSError, match="waits no more") as gone:
                old.write(new.argument, b"x")
            assert gone.value.errno == errno.ESRCH
        program.go()
        program.finish()
    if second != first:
        pytest.skip("somebody else got the process id each time")
