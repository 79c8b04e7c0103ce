"""The ioctl door with real programs under the real filter: what arrives, what is answered, what is reached."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from _patience import PATIENCE, eventually
from _usage import descriptors
from door_harness import KEEP, NOOP, Handler, Program, request

from fauxdna import _core


def test_what_arrives_is_what_was_called() -> None:
    seen = []
    handler = Handler()
    number = request(0x44, 16)
    handler.answers[number] = lambda call: (
        seen.append((call.node, call.request, call.argument, call.data(), call.pid, call.tid, call.alive)),
        call.reply(),
    )
    source = f"""
buffer = ctypes.create_string_buffer(b"0123456789abcdef-more")
say(os.getpid(), ctypes.addressof(buffer))
first, second = node(0), node(1)
say(ioctl(second, {number}, ctypes.addressof(buffer)))
thread = threading.Thread(target=lambda: say(threading.get_native_id(), ioctl(first, {number}, ctypes.addressof(buffer))))
thread.start(); thread.join()
"""
    with Program(source, handler=handler, nodes=2) as program:
        pid, address, first, tid, second = map(int, program.finish())
    data = b"0123456789abcdef"
    assert (first, second) == (0, 0)
    assert seen == [(1, number, address, data, pid, pid, True), (0, number, address, data, pid, tid, True)]


def test_an_errno_reaches_the_program() -> None:
    handler = Handler()
    for number in (errno.EINVAL, errno.ENOENT, errno.EOPNOTSUPP, 4095):
        handler.answers[request(number & 0xFF)] = lambda call, number=number: call.reply(number)
    numbers = [errno.EINVAL, errno.ENOENT, errno.EOPNOTSUPP, 4095]
    with Program(f"f = node()\nfor n in {numbers}: say(ioctl(f, {request(0)} | n & 0xff))", handler=handler) as program:
        assert [*map(int, program.finish())] == numbers


def test_other_files_are_the_kernels() -> None:
    source = f"""
r, w = os.pipe()
path = os.open(NODES[0], os.O_PATH)
other = os.open("/dev/null", os.O_RDWR)
say(*(ioctl(fd, {NOOP}) for fd in (r, w, path, other, 999, -1, 0x7fffffff, -0x80000000)))
say(ioctl(node(), 0x5401), ioctl(node(), {NOOP}))
"""
    with Program(source) as program:
        answers = [*map(int, program.finish())]
    # Linux: ENOTTY from pipes and /dev/null, EBADF for O_PATH and no descriptor, ENOTTY for TCGETS on a tmpfs file.
    assert answers == [errno.ENOTTY] * 2 + [errno.EBADF, errno.ENOTTY] + [errno.EBADF] * 4 + [errno.ENOTTY, 0]
    assert program.handler.count("call") == 1


def test_memory_is_read_and_written_where_the_caller_may() -> None:
    handler = Handler()
    outcome: list[object] = []

    def probe(call: _core.Call) -> None:
        page = call.argument
        outcome.append(call.read(page, 5))
        call.write(page, b"HELLO")
        # The page after it is not mapped, the one after that is mapped for reading only.
        for attempt in (
            lambda: call.read(page + 4096 - 4, 8),
            lambda: call.write(page + 4096 - 4, b"12345678"),
            lambda: call.write(page + 8192, b"x"),
            lambda: call.read(0, 1),
            lambda: call.read(1 << 63, 1),
            lambda: call.read((1 << 64) - 1, 16),
            lambda: call.write((1 << 47) - 4, b"12345678"),
        ):
            with pytest.raises(OSError, match="not all of it is the caller's memory") as refused:
                attempt()
            outcome.append(refused.value.errno)
        outcome.append(call.read(page + 8192, 3))
        outcome.append(call.read(0, 0))
        with pytest.raises(OverflowError, match="at most"):
            call.read(page, 1 << 40)
        call.reply()

    handler.answers[NOOP] = probe
    source = f"""
libc.mmap.restype = libc.mprotect.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
page = libc.mmap(None, 3 * 4096, 3, 0x22, -1, 0)
ctypes.memmove(page, b"hello", 5); ctypes.memmove(page + 8192, b"abc", 3)
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.munmap(page + 4096, 4096); libc.mprotect(page + 8192, 4096, 1)
say(ioctl(node(), {NOOP}, page), ctypes.string_at(page, 5).decode(), ctypes.string_at(page + 8192, 3).decode())
"""
    with Program(source, handler=handler) as program:
        assert program.finish() == ["0", "HELLO", "abc"]
    assert outcome == [b"hello", *[errno.EFAULT] * 7, b"abc", b""]


def test_the_argument_is_read_once() -> None:
    handler = Handler()
    number = request(0x01, 8)
    seen = []
    handler.answers[number] = lambda call: (
        seen.append(call.data()),
        call.write(call.argument, b"changed!"),
        seen.append(call.data()),
        call.reply(),
    )
    source = f"b = ctypes.create_string_buffer(b'original')\nsay(ioctl(node(), {number}, ctypes.addressof(b)), b.value.decode())"
    with Program(source, handler=handler) as program:
        assert program.finish() == ["0", "changed!"]
    assert seen == [b"original", b"original"]


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 8191, 16383])
def test_arguments_of_every_size(size: int) -> None:
    handler = Handler()
    number = request(0x05, size)
    seen = []
    handler.answers[number] = lambda call: (seen.append(call.data()), call.reply())
    source = f"b = ctypes.create_string_buffer(bytes(i % 251 for i in range(16384)), 16384)\nioctl(node(), {number}, b)"
    with Program(source.replace(", b)", ", ctypes.addressof(b))"), handler=handler) as program:
        program.finish()
    assert seen == [bytes(index % 251 for index in range(size))]


def test_descriptors_go_both_ways(tmp_path: Path) -> None:
    handler = Handler()
    (tmp_path / "gift").write_text("gift")

    def exchange(call: _core.Call) -> None:
        fd = call.get_fd(int.from_bytes(call.read(call.argument, 4), "little"))
        os.write(fd, b"from the door")
        os.close(fd)
        with pytest.raises(OSError, match="no such descriptor") as refused:
            call.get_fd(1000)
        assert refused.value.errno == errno.EBADF
        with open(tmp_path / "gift") as gift:
            numbers = call.add_fd(gift.fileno(), False), call.add_fd(gift.fileno(), True)
        with pytest.raises(OSError, match="descriptor 987") as closed:
            call.add_fd(gift_number, False)
        assert closed.value.errno == errno.EBADF
        call.write(call.argument, b"".join(number.to_bytes(4, "little") for number in numbers))
        call.reply()

    gift_number = 987
    handler.answers[NOOP] = exchange
    source = f"""
r, w = os.pipe()
numbers = (ctypes.c_uint32 * 2)(w, 0)
say(ioctl(node(), {NOOP}, ctypes.addressof(numbers)))
kept, closed = numbers
say(os.read(r, 100).decode().replace(" ", "-"), os.read(kept, 10).decode())
say(fcntl.fcntl(kept, fcntl.F_GETFD), fcntl.fcntl(closed, fcntl.F_GETFD))
"""
    with Program(source, handler=handler) as program:
        assert program.finish() == ["0", "from-the-door", "gift", "0", str(fcntl.FD_CLOEXEC)]


def test_a_full_table_of_the_caller_is_its_own_limit() -> None:
    handler = Handler()
    found = []

    def give(call: _core.Call) -> None:
        with pytest.raises(OSError, match="descriptor") as refused:
            call.add_fd(0, True)
        found.append(refused.value.errno)
        call.reply(refused.value.errno or 0)

    handler.answers[NOOP] = give
    source = f"""
import resource
f = node()
resource.setrlimit(resource.RLIMIT_NOFILE, (f + 1, f + 1))
say(ioctl(f, {NOOP}))
"""
    with Program(source, handler=handler) as program:
        assert program.finish() == [str(errno.EMFILE)]
    assert found == [errno.EMFILE]


def test_memory_as_a_file_outlives_the_call_and_ends_with_the_program() -> None:
    handler = Handler()
    files = []
    handler.answers[NOOP] = lambda call: (files.append((call.memory_fd(), call.argument)), call.reply())
    source = f"""
b = ctypes.create_string_buffer(b"before", 16)
ioctl(node(), {NOOP}, ctypes.addressof(b))
say("called"); sys.stdin.readline(); say(b.value.decode()); sys.stdin.readline()
"""
    with Program(source, handler=handler) as program:
        assert program.line() == "called"
        [(memory, address)] = files
        assert os.pread(memory, 6, address) == b"before"
        assert os.pwrite(memory, b"after!", address) == 6
        assert os.get_inheritable(memory) is False
        program.go()
        assert program.line() == "after!"
        program.go()
        program.finish()
    assert os.pread(memory, 6, address) == b""
    os.close(memory)


def test_a_call_is_answered_once_and_not_after_its_caller() -> None:
    handler = Handler()
    problems = []

    def twice(call: _core.Call) -> None:
        assert call.reply() is True
        assert call.alive is False
        with pytest.raises(OSError, match="answer each call once") as refused:
            call.reply(5)
        problems.append(refused.value.errno)
        with pytest.raises(OSError, match="waits no more") as late:
            call.read(call.argument, 1)
        problems.append(late.value.errno)

    handler.answers[NOOP] = twice
    with Program(f"f = node()\nsay(ioctl(f, {NOOP}))\nioctl(f, {KEEP})", handler=handler) as program:
        handler.wait_kept()
        [call] = handler.kept
        assert call.alive
        program.process.kill()
        program.process.wait()
        handler.wait_for(lambda: ("interrupted", call.client) in handler.events)
        assert call.alive is False
        assert call.reply() is False
        for reach in (lambda: call.read(0, 1), lambda: call.write(0, b"x"), lambda: call.get_fd(0), call.memory_fd):
            with pytest.raises(OSError, match="waits no more") as gone:
                reach()
            assert gone.value.errno == errno.ESRCH
    assert problems == [errno.EALREADY, errno.ESRCH]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_handler_that_raises_or_forgets_gives_eio(monkeypatch: pytest.MonkeyPatch) -> None:
    raised = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: raised.append(str(args.exc_value)))
    handler = Handler()
    handler.answers[request(2)] = lambda call: 1 // 0
    handler.answers[request(3)] = lambda call: None
    with Program(
        f"f = node()\nsay(ioctl(f, {request(2)}), ioctl(f, {request(3)}), ioctl(f, {NOOP}))", handler=handler
    ) as program:
        assert program.finish() == [str(errno.EIO), str(errno.EIO), "0"]
    assert raised == ["integer division or modulo by zero"]


def test_a_slow_answer_holds_up_nobody_else() -> None:
    handler = Handler()
    release = threading.Event()
    slow = request(2)
    handler.answers[slow] = lambda call: (release.wait(PATIENCE), call.reply())
    source = f"""
f = node()
threads = [threading.Thread(target=ioctl, args=(f, {slow})) for _ in range(5)]
for thread in threads: thread.start()
sys.stdin.readline()
say(ioctl(f, {NOOP}))
for thread in threads: thread.join()
say("all")
"""
    with Program(source, handler=handler) as program:
        # Five handlers are inside at once, and the sixth call is answered.
        handler.wait_for(lambda: handler.count("call") == 5)
        program.go()
        assert program.line() == "0"
        release.set()
        assert program.finish() == ["all"]


def test_kept_calls_are_answered_from_any_thread_in_any_order() -> None:
    source = f"""
f = node()
def wait(n):
    say(n, ioctl(f, {KEEP}, n))
threads = [threading.Thread(target=wait, args=(n,)) for n in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    with Program(source) as program:
        handler = program.handler
        handler.wait_kept(3)
        by_argument = {call.argument: call for call in handler.kept}
        for argument, number in ((2, 0), (0, errno.ETIME), (1, 7)):
            threading.Thread(target=by_argument[argument].reply, args=(number,)).start()
            assert program.line() == f"{argument} {number}"
        program.finish()
    assert handler.count("interrupted") == 0


def test_closing_ends_waits_with_enodev_and_later_calls_with_enosys() -> None:
    source = f"""
f = node()
thread = threading.Thread(target=lambda: say(ioctl(f, {KEEP}))); thread.start()
thread.join()
sys.stdin.readline()
say(ioctl(f, {NOOP}))
"""
    with Program(source) as program:
        handler = program.handler
        handler.wait_kept()
        program.door.close()
        assert program.line() == str(errno.ENODEV)
        [client] = {call.client for call in handler.kept}
        assert handler.events == [("call", client), ("interrupted", client), ("closed", client)]
        assert handler.kept[0].reply() is False
        program.go()
        assert program.finish() == [str(errno.ENOSYS)]
        program.door.close()


def test_a_handler_may_close_its_door() -> None:
    handler = Handler()
    done = threading.Event()
    with Program(
        f"f = node()\nsay(ioctl(f, {NOOP}))\nwhile ioctl(f, {NOOP}) != {errno.ENOSYS}: pass", handler=handler
    ) as program:
        handler.answers[NOOP] = lambda call: (program.door.close(), call.reply(), done.set())
        program.finish()
        assert done.wait(PATIENCE)
    assert handler.events[-1][0] == "closed"


def test_the_end_comes_after_the_last_process() -> None:
    source = f"""
f = node()
ioctl(f, {NOOP})
if os.fork() == 0:
    sys.stdin.readline()
    ioctl(f, {NOOP})
    os._exit(0)
os._exit(0)
"""
    with Program(source) as program:
        handler = program.handler
        assert program.process.wait(PATIENCE) == 0
        assert handler.count("closed") == 0
        program.go()
        handler.wait_for(lambda: handler.count("ended") == 1)
        [client] = {client for what, client in handler.events if what == "call"}
        assert handler.events == [("call", client), ("call", client), ("closed", client), ("ended", 0)]
        program.door.close()
        assert handler.count("ended") == 1


def test_what_is_no_listener_or_no_node_is_refused() -> None:
    handler = Handler()
    r, w = os.pipe()
    with Program("sys.stdin.readline()") as program:
        before = descriptors()
        file = program.files[0]
        for listener, files, number, text in (
            (r, [file], errno.EINVAL, "no seccomp listener"),
            (12345, [file], errno.EBADF, "descriptor 12345"),
        ):
            with pytest.raises(OSError, match=text) as refused:
                _core.Door(listener, files, handler)
            assert refused.value.errno == number
        for files, number, text in (
            ([w], errno.EINVAL, "no regular file"),
            ([-1], errno.EBADF, "descriptor -1"),
            ([file, file], errno.EINVAL, "a file of its own"),
        ):
            with pytest.raises(OSError, match=text) as refused:
                _core.Door(r, files, handler)
            assert refused.value.errno == number
        with pytest.raises(OSError, match="client 77 does not exist") as unknown:
            program.door.register(77, 1, 1)
        assert unknown.value.errno == errno.ENOENT
        program.door.forget(77, 1)
        assert descriptors() <= before
    os.close(r)
    os.close(w)


def test_an_interpreter_ends_with_its_door_open() -> None:
    source = f"""
import sys
sys.path[:0] = {sys.path!r}
from door_harness import *
program = Program("f = node()\\nsay('up')\\nioctl(f, {KEEP})")
program.handler.wait_kept()
print(program.line())
program.process.kill()
"""
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", source], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "up\n", "")


def switches() -> dict[str, int]:
    """How often each thread of a door has left its processor."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        # Another thread may end meanwhile.
        with suppress(FileNotFoundError, ProcessLookupError):
            if (task / "comm").read_text().startswith(("fauxdna-watch", "fauxdna-door")):
                status = (task / "status").read_text().splitlines()
                found[task.name] = sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)
    return found


def test_a_door_without_calls_uses_no_time() -> None:
    with Program(f"f = node()\nioctl(f, {NOOP})\nsay('up')\nsys.stdin.readline()") as program:
        assert program.line() == "up"

        def quiet() -> bool:
            before = switches()
            threading.Event().wait(0.25)
            return len(before) == 2 and switches() == before

        # Its watch thread looks about for a while after a call and a close, and then sleeps: no switches of its own any more. By
        # then other doors' threads have ended, and a receiver that another took over from.
        assert eventually(quiet)
