"""Guests that reboot and QEMUs that are killed, all on one server: nothing of them stays."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from fauxdna.errors import FauxdnaError

from ..devices import Devices
from ..machine import Machine, Settings, folder_for_sockets
from ..packages import Progress
from .bench import KERNEL_COMPLAINTS, VFS, Bench, CheckFailed, complaints, from_the_driver_on
from .held import Held
from .report import Case

BOOTS: Final = 20
BOOTS_OF_A_QEMU: Final = 5
QUICK_BOOTS: Final = 3
QUICK_BOOTS_OF_A_QEMU: Final = 2


def reboots(settings: Settings, progress: Progress, *, quick: bool = False) -> Case:
    """Guests come up, compute and reboot, every few boots in a new QEMU since the last one was killed, on one server.

    In each boot the driver finds its functions, neither it nor the kernel complains, and no more descriptors, threads and
    mappings are held than in the first one; after each QEMU's end no more than after the first one's, and no DMA mapping is left.
    """
    boots, life = (QUICK_BOOTS, QUICK_BOOTS_OF_A_QEMU) if quick else (BOOTS, BOOTS_OF_A_QEMU)
    case = Case("reboots")
    began = time.monotonic()
    settings = replace(settings, reboots=True)
    where, complaint = "before the first boot", ""
    running: list[Held] = []
    ended: list[Held] = []
    try:
        with ExitStack() as cleanup:
            folder = folder_for_sockets(cleanup)
            devices = cleanup.enter_context(Devices(folder, settings.vfs, settings.pf, None, settings.mirror, settings.faults))
            for first in range(0, boots, life):
                with Machine(settings, devices=devices) as machine:
                    bench = Bench(machine)
                    for number in range(first, min(first + life, boots)):
                        where = f"boot {number + 1}"
                        progress(f"boot {number + 1} of {boots} on one server")
                        if number > first:
                            machine.reboot()
                        if machine.booted.problems:
                            raise CheckFailed("; ".join(machine.booted.problems))
                        for vf in VFS:
                            bench.works(vf)
                        log = bench.log()
                        case.evidence += [line for line in log if "amdxdna" in line or KERNEL_COMPLAINTS.search(line)]
                        if bad := complaints(from_the_driver_on(log), of_driver=True):
                            # Boots go on: what is left of them is to be seen all the same.
                            complaint = complaint or f"{where}: {bad}"
                        _same(running)
                    where = f"after boot {number + 1}, the last of its QEMU"
                    machine.kill()
                    bench.let_go()
                _same(ended)
    except (CheckFailed, FauxdnaError) as error:
        case.failure = f"{where}: {error}"
    case.failure = case.failure or complaint
    if ended:
        case.figures = {
            "boots": len(running),
            "descriptors": ended[0].descriptors,
            "threads": ended[0].threads,
            "mappings": ended[0].mappings,
            "own_mib_grown": (ended[-1].own_kib - ended[0].own_kib) / 1024,
        }
    case.seconds = time.monotonic() - began
    return case


def _same(seen: list[Held]) -> None:
    growth = seen[0].growth() if seen else ""
    if growth:
        raise CheckFailed(growth)
    seen.append(Held.now())
