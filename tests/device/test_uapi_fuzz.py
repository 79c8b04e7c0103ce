"""Random and mutated ioctls: always an answer, always an errno that Linux 7.2 could give, and nobody else notices."""

from __future__ import annotations

import ctypes
import errno
import random
import threading

import pytest
from _patience import PATIENCE
from _uapi import STRUCTURES, FakeCall, Program, Sandbox

from fauxdna.abi.drm import CoreIoctl
from fauxdna.abi.uapi import Ioctl
from fauxdna.abi.uapi_next import Level
from fauxdna.accel.machine import Machine
from fauxdna.log import Level as LogLevel

POSSIBLE = {
    0,
    errno.EPERM,
    errno.ENOENT,
    errno.EBADF,
    errno.ENOMEM,
    errno.EACCES,
    errno.EFAULT,
    errno.EBUSY,
    errno.ENODEV,
    errno.EINVAL,
    errno.EMFILE,
    errno.ENOTTY,
    errno.ENOSPC,
    errno.ENOSYS,
    errno.E2BIG,
    errno.ETIME,
    errno.EOPNOTSUPP,
}
NUMBERS = [int(number) for number in (*Ioctl, *CoreIoctl)]
EDGES = [0, 1, 2, 3, 4, 7, 8, 64, 4095, 4096, 1 << 20, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 47, 1 << 63, (1 << 64) - 1]
SCRATCH = ctypes.create_string_buffer(1 << 16)


class FuzzedCall(FakeCall):
    """A caller whose memory is its argument and the scratch area: what it aims elsewhere must not hit this process."""

    def write(self, address: int, data: bytes) -> None:
        start = ctypes.addressof(SCRATCH)
        inside = start <= address and address + len(data) <= start + len(SCRATCH)
        if not inside and address != self.argument:
            raise OSError(errno.EFAULT, "Bad address")
        super().write(address, data)


def mutated(chance: random.Random) -> tuple[int, bytes]:
    """A request and its argument: of a known command, with sizes from 0 to twice its own, and now and then of none."""
    number = chance.choice(NUMBERS)
    if chance.random() < 0.05:
        return chance.getrandbits(32), chance.randbytes(256)
    size = number >> 16 & 0x3FFF
    structure = STRUCTURES.get(number)
    argument = bytearray(size)
    if structure is not None:
        for field in structure.fields:
            kind = chance.random()
            if kind < 0.5:
                value = chance.choice(EDGES)
            elif kind < 0.8:
                value = ctypes.addressof(SCRATCH) + chance.choice((0, 4096, 0xFFF0))
            else:
                value = chance.getrandbits(64)
            width = field.size
            at = structure.offsets[field.name]
            argument[at : at + width] = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
    if number == int(Ioctl.WAIT_CMD):
        argument[4:8] = (1).to_bytes(4, "little")
    if chance.random() < 0.3:
        size = chance.randrange(2 * size + 1)
        number = number & ~(0x3FFF << 16) | size << 16
    if chance.random() < 0.1:
        number ^= 1 << chance.choice((30, 31))
    return number, bytes(argument).ljust(size, b"\xff")[: max(size, len(argument))]


def run(program: Program, seed: int, calls: int, seen: set[int]) -> None:
    chance = random.Random(seed)
    waiting: list[FakeCall] = []
    for _ in range(calls):
        number, argument = mutated(chance)
        if chance.random() < 0.05:
            call = program.start(number, chance.choice((0, 8, 1 << 63, (1 << 64) - 8)))
            buffer = None
        else:
            buffer = ctypes.create_string_buffer(argument, max(1, len(argument), number >> 16 & 0x3FFF))
            call = program.start(number, ctypes.addressof(buffer))
        call.argument_memory = buffer
        if not call.ended.wait(0.2):
            waiting.append(call)
            continue
        assert call.error is not None
        seen.add(call.error)
    for call in waiting:
        # A wait for a syncobj: its caller is killed.
        call.alive = False
    for call in waiting:
        assert call.ended.wait(PATIENCE), f"{call.request:#x} was never answered"


@pytest.mark.parametrize("level", list(Level))
def test_every_answer_is_one_that_linux_gives(host: Machine, level: Level) -> None:
    with Sandbox(host, level=level, door=FuzzedCall) as sandbox, Sandbox(host) as other:
        bystander = other.open()
        queue = bystander.bo(8192)
        context = bystander.context(queue)
        seen: set[int] = set()
        errors: list[BaseException] = []

        def attack(seed: int) -> None:
            try:
                run(sandbox.open(), seed, 700, seen)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=attack, args=(seed,)) for seed in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors, errors
        assert seen <= POSSIBLE, [errno.errorcode.get(number, number) for number in seen - POSSIBLE]
        assert len(seen) > 8, "it reached many answers"
        bugs = [entry for entry in host_log(host) if " failed: " in entry]
        assert not bugs, bugs
        assert bystander.errno(Ioctl.WAIT_CMD, hwctx=context.handle, timeout=1) == errno.ETIME
        assert bystander.info(queue).map_offset >= 1 << 32
        bystander.close()
    function = host.nodes[sandbox.nodes[0]]
    assert function.memory.count == 0
    assert not function.clients


def host_log(host: Machine) -> list[str]:
    """What the driver called an error."""
    return [str(entry) for entry in host._log.entries(LogLevel.ERROR)]


def test_an_argument_that_changes_is_read_once(host: Machine) -> None:
    with Sandbox(host) as sandbox:
        program = sandbox.open()
        for number in (Ioctl.GET_BO_INFO, Ioctl.CREATE_BO, CoreIoctl.SYNCOBJ_CREATE):
            buffer = ctypes.create_string_buffer(STRUCTURES[int(number)].size)
            call = program.start(int(number), ctypes.addressof(buffer))
            assert call.ended.wait(PATIENCE)
            assert call.reads == 1
