"""Measures the doorbell path: an EXEC_BUF of one empty job through real queue memory and a real engine.

Three clients take turns, each with the engine on one processor and itself on another: a thread and a process that poll the
completion word and touch nothing but mapped pages, and a thread that sleeps until the MSI-X eventfd wakes it.
"""

from __future__ import annotations

import json
import os
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass

from .._core import AddressSpace, Engine, HostQueue, Interrupts, line_round_trip
from ..abi.control_code import FILLER, PAGE_HEADER, PAGE_MAGIC, PAGE_SIZE, Opcode
from ..abi.host_queue import DOORBELL_PAGE_SIZE
from ..driver import Pf, Vf, probe
from ..errors import Unsupported
from ..firmware import image_loader
from ..serve import LocalDie

SAMPLES = 100_000
MAILBOX_SAMPLES = 2_000
_ADDRESS = 0x4_0000_0000
_QUEUE_SIZE = 0x4000
_CODE = _ADDRESS + _QUEUE_SIZE
_MEMORY_SIZE = _QUEUE_SIZE + PAGE_SIZE


@dataclass(frozen=True)
class _Shared:
    """What a client needs to know, in this process or another: descriptors, and the processor to run on."""

    memory: int
    doorbell: int
    kick: int
    cpu: int


def doorbell(samples: int = SAMPLES) -> dict[str, float]:
    """Latencies in nanoseconds, of ``samples`` packets each, and of a management message beside them.

    Returns:
        ``p50_ns`` and ``p99_ns`` (two threads), ``processes_p50_ns`` and ``processes_p99_ns`` (two processes), ``eventfd_p50_ns``
        (MSI-X), ``ratio`` (``eventfd_p50_ns / p50_ns``), ``line_p50_ns`` (one word to the other processor and back, the floor: it
        depends on where a hypervisor puts the processors), ``mailbox_p50_ns`` (AIE_TILE_INFO by driver, bus and firmware) and
        ``samples``.

    Raises:
        Unsupported: this process may run on one processor only.
    """
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        raise Unsupported(
            "the doorbell's latency is that between two processors, and this process may use one", "allow it another"
        )
    floor = line_round_trip(samples, (processors[0], processors[-1]))
    with _die() as (shared, interrupts):
        interrupts.mask(0, True)
        threads = _client(shared).measure(_CODE, samples, cpu=shared.cpu)
    with _die() as (shared, interrupts):
        interrupts.mask(0, True)
        processes = _other_process(shared, samples)
    with _die() as (shared, interrupts):
        eventfd = os.eventfd(0, os.EFD_CLOEXEC)
        try:
            interrupts.set(0, eventfd)
            slept = _client(shared).measure(_CODE, samples, eventfd=eventfd, cpu=shared.cpu)
        finally:
            os.close(eventfd)
    return {
        "p50_ns": threads["p50_ns"],
        "p99_ns": threads["p99_ns"],
        "processes_p50_ns": processes["p50_ns"],
        "processes_p99_ns": processes["p99_ns"],
        "eventfd_p50_ns": slept["p50_ns"],
        "line_p50_ns": floor["p50_ns"],
        "ratio": slept["p50_ns"] / threads["p50_ns"],
        "mailbox_p50_ns": _mailbox(),
        "samples": samples,
    }


def _mailbox() -> float:
    """Median round trip of AIE_TILE_INFO."""
    with ExitStack() as stack:
        die = stack.enter_context(LocalDie())
        pf = probe(die.open(die.functions()[0]), "pf", image_loader())
        stack.callback(pf.close)
        assert isinstance(pf, Pf)
        pf.sriov_configure(1)
        vf = probe(die.open(die.functions()[1]), "vf")
        stack.callback(vf.close)
        assert isinstance(vf, Vf)
        times = []
        for _ in range(MAILBOX_SAMPLES):
            begin = time.perf_counter_ns()
            vf.management.call("AIE_TILE_INFO")
            times.append(time.perf_counter_ns() - begin)
    return float(statistics.median(times))


EMPTY_JOB_SIZE = 32
"""Bytes of its header and instructions: a multiple of 16, as the text of a page in an ELF is."""


def empty_job() -> bytes:
    """One page: START_JOB, END_JOB, EOF."""
    job = struct.pack("<BBHHH", Opcode.START_JOB, 0, 0, 12, 0) + struct.pack("<II", Opcode.END_JOB, Opcode.EOF)
    header = PAGE_HEADER.pack(magic=PAGE_MAGIC, length=PAGE_HEADER.size + len(job))
    return (header + job).ljust(PAGE_SIZE, bytes([FILLER]))


@contextmanager
def _die() -> Iterator[tuple[_Shared, Interrupts]]:
    """An engine on one processor, with one context whose queue a client on another may use."""
    processors = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        memory, doorbell = os.memfd_create("queue and code"), os.memfd_create("doorbell")
        stack.callback(os.close, memory)
        stack.callback(os.close, doorbell)
        os.ftruncate(memory, _MEMORY_SIZE)
        os.ftruncate(doorbell, DOORBELL_PAGE_SIZE)
        os.pwrite(memory, empty_job(), _QUEUE_SIZE)
        space = AddressSpace()
        space.map(_ADDRESS, memory, 0, _MEMORY_SIZE, 3)
        engine = Engine(1, cpu=processors[-1])
        stack.callback(engine.close)
        interrupts = Interrupts(1)
        engine.create_context(
            space,
            queue_address=_ADDRESS,
            column=0,
            columns=1,
            doorbell_fd=doorbell,
            doorbell_offset=0,
            interrupts=interrupts,
            vector=0,
        )
        yield _Shared(memory, doorbell, engine.kick_fd, processors[0]), interrupts


def _client(shared: _Shared) -> HostQueue:
    return HostQueue(shared.memory, 0, _ADDRESS, _QUEUE_SIZE, shared.doorbell, 0, kick_fd=shared.kick)


def _other_process(shared: _Shared, samples: int) -> dict[str, float]:
    """Latencies seen by a client in a process of its own."""
    numbers = [str(number) for number in (*astuple(shared), samples)]
    command = [sys.executable, "-c", "from fauxdna.benchmark._doorbell import client; client()", *numbers]
    descriptors = (shared.memory, shared.doorbell, shared.kick)
    result = subprocess.run(command, pass_fds=descriptors, stdout=subprocess.PIPE, check=True, timeout=300)
    return {str(name): float(value) for name, value in json.loads(result.stdout).items()}


def client() -> None:
    """The other process: descriptors, processor and number of samples are its arguments; prints what it measured."""
    *numbers, samples = map(int, sys.argv[1:])
    shared = _Shared(*numbers)
    print(json.dumps(_client(shared).measure(_CODE, samples, cpu=shared.cpu)))
