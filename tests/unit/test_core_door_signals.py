"""Waits end for the signals, stops, debuggers and deaths that end a wait in a driver, and for nothing else."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import threading
import weakref
from contextlib import suppress
from pathlib import Path

import pytest
from _patience import PATIENCE, eventually
from door_harness import KEEP, NOOP, Handler, Program

from fauxdna._core import Call

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
LIBC.ptrace.restype = ctypes.c_long
PTRACE_ATTACH, PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 16, 17, 0x4206, 0x4207
LOOKS = 20
"""Sleeps of the watch thread in which it looks at a new wait for sure: ten ticks of 1 ms, and then one sleep for each look."""
HANDLED = """
libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.siginterrupt.argtypes = [ctypes.c_int, ctypes.c_int]
signal.signal(signal.SIGUSR1, lambda *_: None)
"""


def state(pid: int) -> str:
    """Its letter in ``/proc/PID/stat``."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def switches() -> int:
    """How often the door's watch thread has gone to sleep."""
    count = 0
    for task in Path("/proc/self/task").iterdir():
        # Another door's thread may end meanwhile.
        with suppress(FileNotFoundError, ProcessLookupError):
            if (task / "comm").read_text().startswith("fauxdna-watch"):
                status = (task / "status").read_text().splitlines()
                count += sum(int(line.split()[1]) for line in status if line.startswith("voluntary"))
    return count


def wait_source(prepare: str) -> str:
    return f"{HANDLED}{prepare}\nf = node()\nsay(ioctl(f, {KEEP}))"


def test_a_handler_without_restart_gives_eintr() -> None:
    with Program(wait_source("signal.siginterrupt(signal.SIGUSR1, True)")) as program:
        handler = program.handler
        handler.wait_kept()
        program.process.send_signal(signal.SIGUSR1)
        assert program.finish() == [str(errno.EINTR)]
        handler.wait_for(lambda: handler.count("interrupted") == 1)
        assert handler.kept[0].reply() is False


def test_the_end_of_a_wait_is_told_before_the_program_goes_on() -> None:
    handler = Handler()
    waiting, told = threading.Event(), threading.Event()

    def end() -> None:
        # Whoever is told takes its time.
        threading.Event().wait(0.2)
        told.set()

    kept: list[Call] = []

    def keep(call: Call) -> None:
        call.interruptible(end)
        kept.append(call)
        waiting.set()

    handler.answers[NOOP] = keep
    source = f"{HANDLED}signal.siginterrupt(signal.SIGUSR1, True)\nsay(ioctl(node(), {NOOP}))"
    with Program(source, handler=handler) as program:
        assert waiting.wait(PATIENCE)
        program.process.send_signal(signal.SIGUSR1)
        assert program.line() == str(errno.EINTR)
        assert told.is_set()
        program.finish()


def test_a_handler_with_restart_makes_the_call_again() -> None:
    with Program(wait_source("signal.siginterrupt(signal.SIGUSR1, False)")) as program:
        handler = program.handler
        for count in (1, 2, 3):
            handler.wait_kept(count)
            if count < 3:
                program.process.send_signal(signal.SIGUSR1)
        assert handler.kept[2].reply() is True
        assert program.finish() == ["0"]
        handler.wait_for(lambda: handler.count("interrupted") == 2)


@pytest.mark.parametrize(
    "prepare",
    ["signal.signal(signal.SIGUSR1, signal.SIG_IGN)", "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])"],
)
def test_ignored_and_blocked_signals_end_nothing(prepare: str) -> None:
    with Program(wait_source(prepare)) as program:
        handler = program.handler
        handler.wait_kept()
        program.process.send_signal(signal.SIGUSR1)
        # SIGWINCH and SIGCHLD do nothing by default.
        program.process.send_signal(signal.SIGWINCH)
        assert not handler.changed.acquire() or handler.changed.wait_for(lambda: handler.count("interrupted") > 0, 0.2) is False
        handler.changed.release()
        handler.kept[0].reply(3)
        assert program.finish() == ["3"]


def test_a_call_that_does_not_wait_is_not_interrupted() -> None:
    handler = Handler()
    kept = []
    handler.answers[NOOP] = lambda call: (kept.append(call), handler.note("held", 0))
    with Program(f"{HANDLED}say(ioctl(node(), {NOOP}))", handler=handler) as program:
        handler.wait_for(lambda: handler.count("held") == 1)
        program.process.send_signal(signal.SIGUSR1)
        with handler.changed:
            assert not handler.changed.wait_for(lambda: not kept[0].alive, 0.2)
        assert kept[0].reply(9) is True
        assert program.finish() == ["9"]


class Told:
    """What a wait is told of its end by; it holds the call, which the collector can't see."""

    def __init__(self, call: Call) -> None:
        self.call = call

    def ended(self) -> None:
        """Not called: the call is answered."""


def test_an_answered_wait_holds_nothing() -> None:
    handler = Handler()
    kept: list[weakref.ref[Told]] = []

    def answer(call: Call) -> None:
        told = Told(call)
        call.interruptible(told.ended)
        kept.append(weakref.ref(told))
        call.reply()
        # After its end as well.
        call.interruptible(told.ended)

    handler.answers[NOOP] = answer
    with Program(f"say(ioctl(node(), {NOOP}))", handler=handler) as program:
        assert program.finish() == ["0"]
        assert eventually(lambda: kept[0]() is None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_deadly_signal_kills(number: signal.Signals) -> None:
    with Program(wait_source("signal.signal(signal.SIGINT, signal.SIG_DFL)")) as program:
        handler = program.handler
        handler.wait_kept()
        program.process.send_signal(number)
        assert program.process.wait(PATIENCE) == -number
        handler.wait_for(lambda: handler.count("ended") == 1)
        assert handler.count("interrupted") == handler.count("closed") == 1


@pytest.mark.parametrize("threads", [0, 4])
def test_a_stop_stops_and_a_continue_goes_on(threads: int) -> None:
    prepare = f"for _ in range({threads}): threading.Thread(target=lambda: ioctl(node(), {KEEP}), daemon=True).start()"
    with Program(wait_source(prepare).replace("say(", "print(") + "\nos._exit(0)") as program:
        handler = program.handler
        handler.wait_kept(threads + 1)
        for number in (signal.SIGSTOP, signal.SIGTSTP):
            waiting = threads + 1
            count = len(handler.kept)
            program.process.send_signal(number)
            # As a shell sees Ctrl-Z: only when every thread has stopped.
            assert eventually(lambda: os.waitpid(program.process.pid, os.WUNTRACED | os.WNOHANG) != (0, 0))
            assert state(program.process.pid) == "T"
            program.process.send_signal(signal.SIGCONT)
            handler.wait_kept(count + waiting)
        for call in handler.kept:
            call.reply()
        program.process.wait(PATIENCE)


def test_a_signal_for_a_thread_ends_that_threads_wait() -> None:
    source = f"""{HANDLED}
signal.siginterrupt(signal.SIGUSR1, True)
f = node()
def wait(n):
    say(n, ioctl(f, {KEEP}, n))
threads = [threading.Thread(target=wait, args=(n,)) for n in range(3)]
for thread in threads: thread.start()
sys.stdin.readline()
signal.pthread_kill(threads[1].ident, signal.SIGUSR1)
for thread in threads: thread.join()
"""
    with Program(source) as program:
        handler = program.handler
        handler.wait_kept(3)
        program.go()
        assert program.line() == f"1 {errno.EINTR}"
        for call in handler.kept:
            call.reply()
        assert sorted(program.finish()) == sorted(["0", "0", "2", "0"])


def test_a_debugger_attaches_to_a_wait() -> None:
    with Program(wait_source("")) as program:
        handler = program.handler
        pid = program.process.pid
        handler.wait_kept(1)
        for count, (request, then) in enumerate([(PTRACE_ATTACH, None), (PTRACE_SEIZE, PTRACE_INTERRUPT)], start=2):
            if LIBC.ptrace(request, pid, None, None) != 0:
                pytest.skip(f"ptrace: {os.strerror(ctypes.get_errno())} (needs root or ptrace_scope 0)")
            if then is not None:
                assert LIBC.ptrace(then, pid, None, None) == 0
            assert eventually(lambda: os.waitpid(pid, os.WNOHANG | 0x40000000) != (0, 0))
            assert state(pid) == "t"
            assert LIBC.ptrace(PTRACE_DETACH, pid, None, None) == 0
            handler.wait_kept(count)
            # The look that finds the tracer must not be the first one at this wait.
            looked = switches() + LOOKS
            assert eventually(lambda looked=looked: switches() >= looked)
        handler.kept[-1].reply()
        assert program.finish() == ["0"]
