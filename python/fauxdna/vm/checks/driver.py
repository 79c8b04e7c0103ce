"""Checks of a driver on a device that works: each takes a guest with the PF and two VFs and leaves it so."""

from __future__ import annotations

import time
from typing import Final

from .bench import PF, VFS, Bench, CheckFailed
from .held import Held

CONTEXT_CYCLES: Final = 1000
VF_CYCLES: Final = 100
WAIT_MS: Final = 2000
"""Far more than a packet takes."""
VF_WAIT_S: Final = 0.1
"""What Linux waits after VF Enable (``sriov_enable``, ``drivers/pci/iov.c``)."""
_NODES: Final = "for f in /sys/class/accel/accel*/device; do echo $(basename $(readlink $f)) $(cat $f/device_type); done"


def probe(bench: Bench) -> None:
    """The driver binds to the PF (device_type 2) and to the VFs that it creates (1)."""
    nodes = bench.do(_NODES).splitlines()
    expected = [f"{PF} 2", *(f"{vf} 1" for vf in VFS)]
    if nodes != expected:
        raise CheckFailed(f"nodes are {nodes}, not {expected}")


def refusals(bench: Bench) -> None:
    """Calls that must be refused give the errno that the driver's source gives them."""
    bench.do("fauxdna-probe refusals")


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
    """WAIT_CMD for a packet that nobody submitted ends with ETIME."""
    bench.expect("fauxdna-probe wait 1000 50", "ETIME")


def vf_cycles(bench: Bench) -> dict[str, float]:
    """VFs are destroyed and created a hundred times, and compute afterwards; the device holds no more than before."""
    round_trip = min(_seconds(bench, "true") for _ in range(3))
    times, held = [], Held.now()
    for _ in range(VF_CYCLES // bench.divisor):
        bench.set_vfs(0)
        times.append(_seconds(bench, f"echo 2 > /sys/bus/pci/devices/{PF}/sriov_numvfs") - round_trip)
    for vf in VFS:
        bench.works(vf)
    if len(bench.server.clients) != 1 + len(VFS):
        raise CheckFailed(f"the server's clients are {bench.server.clients}")
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
