"""Checks of a driver on a device that works: each takes a guest with the PF and two VFs and leaves it so."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Final

from .bench import DRIVER, PF, VFS, Bench, CheckFailed
from .held import Held

CONTEXT_CYCLES: Final = 1000
VF_CYCLES: Final = 100
WAIT_MS: Final = 2000
"""Far more than a packet takes."""
VF_WAIT_S: Final = 0.1
"""What Linux waits after VF Enable (``sriov_enable``, ``drivers/pci/iov.c``)."""
PF_REFUSALS: Final = 2
VF_REFUSALS: Final = 19
"""Calls of ``fauxdna-probe refusals`` on a node."""
VAIN_MS: Final = 50
ENDLESS_SECONDS: Final = 20.0
"""After that a call that was to take 50 ms counts as one that never ends."""
TIMED_OUT: Final = 143
"""Exit status of busybox's timeout for what it had to end (SIGTERM)."""
_NODES: Final = (
    f"for f in {DRIVER}/0000:*; do if [ -e $f/accel ]; then read -r kind < $f/device_type; echo ${{f##*/}} $kind; fi; done"
)
"""Without a process of its own: it runs after each of a hundred cycles."""


def probe(bench: Bench) -> None:
    """The driver binds to the PF (device_type 2) and to the VFs that it creates (1)."""
    _nodes(bench, VFS)


def _nodes(bench: Bench, vfs: Sequence[str]) -> None:
    nodes = bench.do(_NODES).splitlines()
    expected = [f"{PF} 2", *(f"{vf} 1" for vf in vfs)]
    if nodes != expected:
        raise CheckFailed(f"nodes are {nodes}, not {expected}")


def refusals(bench: Bench) -> None:
    """40 calls that must be refused give the errno that the driver's source gives them."""
    done = bench.try_("fauxdna-probe refusals")
    wrong = wrong_refusals(done.stdout)
    if wrong or done.status:
        raise CheckFailed(f"{wrong or done.stderr.strip()}\n{done.stdout}{done.stderr}")


def wrong_refusals(text: str) -> str:
    """What is wrong with the calls that the probe made, a line each; "" if nothing."""
    function, calls, wrong = "?", 0, []
    for line in text.splitlines():
        if line.startswith("0000:"):
            function = line.partition(" ")[0]
            continue
        calls += 1
        if ", not " in line:
            wrong.append(f"{function}: {line}")
    expected = PF_REFUSALS + VF_REFUSALS * len(VFS)
    if calls != expected:
        wrong.append(f"{calls} calls were made, not {expected}")
    return "\n".join(wrong)


def contexts(bench: Bench) -> dict[str, float]:
    """1,000 contexts are created, run a packet and are destroyed; no DMA mapping is left, nor does the device hold more."""
    bench.do("fauxdna-probe contexts 5")
    before, held = bench.server.dma_maps, Held.now()
    began = time.monotonic()
    count = CONTEXT_CYCLES // bench.divisor
    bench.do(f"fauxdna-probe contexts {count}")
    seconds = time.monotonic() - began
    if bench.server.dma_maps != before:
        raise CheckFailed(f"{bench.server.dma_maps} DMA mappings exist, {before} did before")
    _no_more(held)
    return {"context_ms": seconds / count * 1e3}


def model(bench: Bench) -> None:
    """A compiled model gives the bytes on each VF that it gives outside, with either queue header."""
    folder = "/usr/share/fauxdna/model"
    for vf in VFS:
        for layout in ("", "--padded"):
            bench.do(
                f"fauxdna-probe --node {vf} {layout} run -o 1=/tmp/out {folder}/model.elf {folder}/input "
                f"zeros:$(stat -c %s {folder}/output) zeros:$(($(cat {folder}/workspace) + 4))\ncmp /tmp/out {folder}/output"
            )


def wait(bench: Bench) -> dict[str, float]:
    """WAIT_CMD returns for each of 300 packets before its time is over; polled completion words come too."""
    (woken,) = bench.measure(f"--timeout {WAIT_MS} woken 3")
    if woken >= WAIT_MS * 1e3:
        raise CheckFailed(f"WAIT_CMD returned only when its time was over, {WAIT_MS} ms: its interrupt is not noticed")
    wait, polled = bench.measure("latency 300")
    return {"doorbell_to_wait_us": wait, "doorbell_to_polled_us": polled}


def wait_timeout(bench: Bench) -> None:
    """WAIT_CMD for a packet that nobody submitted, the next one and a far one, ends with ETIME, and when its time is over."""
    for sequence in (0, 1000):
        done = bench.try_(f"timeout {ENDLESS_SECONDS:g} fauxdna-probe wait {sequence} {VAIN_MS}")
        if wrong := wrong_wait(done.status, done.stdout, sequence):
            raise CheckFailed(f"{wrong}\n{done.stdout}{done.stderr}")


def wrong_wait(status: int, text: str, sequence: int) -> str:
    """What is wrong with how such a WAIT_CMD ended; "" if nothing."""
    call = f"WAIT_CMD of packet {sequence}, which nobody submitted,"
    if status == TIMED_OUT:
        return f"{call} did not end in {ENDLESS_SECONDS:g} s: its time was {VAIN_MS} ms"
    found = re.fullmatch(r"(\w+) after ([0-9.]+) ms\n", text)
    if status or not found:
        return f"{call} could not be asked for: status {status}"
    if found[1] != "ETIME":
        return f"{call} ended with {found[1]}, not ETIME"
    # Not to the millisecond: a kernel's jiffies have up to 10.
    if float(found[2]) < VAIN_MS / 2:
        return f"{call} ended after {found[2]} ms: its time was {VAIN_MS} ms"
    return ""


def vf_cycles(bench: Bench) -> dict[str, float]:
    """VFs are destroyed and created a hundred times, and compute afterwards; the device holds no more than before.

    Each time they are gone, and each time they are back with a node.
    """
    round_trip = min(_seconds(bench, "true") for _ in range(3))
    for vf in VFS:
        bench.works(vf)
    times, held, maps = [], Held.now(), bench.server.dma_maps
    for _ in range(max(1, VF_CYCLES // bench.divisor)):
        bench.set_vfs(0)
        _nodes(bench, [])
        began = time.monotonic()
        bench.set_vfs(len(VFS))
        times.append(time.monotonic() - began - round_trip)
        _nodes(bench, VFS)
    for vf in VFS:
        bench.works(vf)
    if len(bench.server.clients) != 1 + len(VFS):
        raise CheckFailed(f"the server's clients are {bench.server.clients}")
    if bench.server.dma_maps > maps:
        raise CheckFailed(f"{bench.server.dma_maps} DMA mappings exist, {maps} did before")
    _no_more(held)
    median = sorted(times)[len(times) // 2]
    return {"vfs_create_ms": median * 1e3, "vf_ms": (median - VF_WAIT_S) / len(VFS) * 1e3}


def unload_and_load(bench: Bench) -> None:
    """The module unloads (SUSPEND, RELEASE_TMR, POWER_OFF) and loads again, three times."""
    for _ in range(3):
        bench.set_vfs(0)
        bench.do("modprobe -r amdxdna; ! grep -q '^amdxdna ' /proc/modules")
        bench.do("modprobe amdxdna force_iova=1")
        bench.set_vfs(2)
    for vf in VFS:
        bench.works(vf)


def _no_more(held: Held) -> None:
    if growth := held.growth():
        raise CheckFailed(growth)


def _seconds(bench: Bench, script: str) -> float:
    began = time.monotonic()
    bench.do(script)
    return time.monotonic() - began
