"""Hostile programs: random requests, pointers and descriptors, changing memory, deaths at any moment."""

from __future__ import annotations

import errno
import os
import random
import signal

from _usage import descriptors, grew, usage
from door_harness import NOOP, Handler, Program

HOSTILE = """
import random
seed = int(NODES.pop())
draw = random.Random(seed)
files = [node(), node()]
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
page = libc.mmap(None, 5 * 4096, 3, 0x22, -1, 0)
def disturb():
    mine = random.Random(seed + 1)
    while True:
        libc.mprotect(page + 4096 * mine.randrange(5), 4096, mine.choice((0, 1, 3, 3)))
        extra = node()
        ioctl(extra, 0xC0006400)
        os.lseek(mine.choice(files), mine.getrandbits(62), os.SEEK_SET)
        os.close(extra)
threading.Thread(target=disturb, daemon=True).start()
def call(draw):
    for _ in range(150):
        request = draw.getrandbits(32) & 0xFFFF00FF | 0x6400
        address = draw.choice((page + draw.randrange(5 * 4096), draw.getrandbits(64), 0, page))
        # A call that writes reads the address back from no variable of ours, so all of our own memory is safe.
        ioctl(draw.choice((*files, *files, -1, 5000, draw.getrandbits(31), 0)), request, address)
threads = [threading.Thread(target=call, args=(random.Random(seed + n),)) for n in range(2, 10)]
for thread in threads: thread.start()
for thread in threads: thread.join()
say("survived")
os._exit(0)
"""


def test_random_calls_from_many_threads_harm_nobody() -> None:
    seed = 1
    handler = Handler()
    handled = {"calls": 0}
    draw = random.Random(seed)
    refused: set[int | None] = set()

    def answer(call: object) -> None:
        handled["calls"] += 1
        for reach in (
            lambda: call.data(),
            lambda: call.read(call.argument, draw.randrange(20000)),
            lambda: call.write(call.argument, bytes(draw.randrange(5000))) if call.argument >> 47 else None,
            lambda: os.close(call.get_fd(draw.getrandbits(31))),
        ):
            try:
                reach()
            except OSError as error:
                refused.add(error.errno)
        call.reply(draw.choice((0, 22, 14)))

    handler.call = answer
    with Program("f = node()\nfor line in sys.stdin: say(ioctl(f, %d))" % NOOP) as peaceful:  # noqa: UP031
        before = descriptors()
        with Program(HOSTILE, handler=handler, arguments=[str(seed)]) as program:
            peaceful.go()
            assert peaceful.line() == "0"
            assert program.finish() == ["survived"]
        # The door's own object keeps descriptors until it is dropped.
        del program
        assert handled["calls"] > 500
        assert refused <= {errno.EFAULT, errno.EBADF, errno.ESRCH}
        peaceful.go()
        assert peaceful.line() == "0"
        # The caller cache of the peaceful one holds its thread. Threads of the other door let go of it after they are done.
        assert not any(grew((before + 1,), lambda: (descriptors(),)))


def test_programs_that_are_killed_at_any_moment() -> None:
    draw = random.Random(2)
    before = usage()
    for _ in range(10):
        handler = Handler()
        source = f"""
f = node()
def call():
    while True:
        g = node()
        ioctl(f, {NOOP}); ioctl(g, {NOOP} + 1); os.close(g)
for _ in range(8): threading.Thread(target=call).start()
"""
        # {NOOP} + 1 is kept, until the program dies.
        with Program(source, handler=handler) as program:
            handler.wait_kept(1 + draw.randrange(8))
            program.process.send_signal(signal.SIGKILL)
            handler.wait_for(lambda handler=handler: handler.count("ended") == 1)
            calls = {client for what, client in handler.events if what == "call"}
            closed = [client for what, client in handler.events if what == "closed"]
            # A client whose first call came after its end has no call here, but each is closed once.
            assert len(closed) == len(set(closed))
            assert calls <= set(closed)
    handler.kept.clear()
    del program
    assert not any(grew(before, usage))
