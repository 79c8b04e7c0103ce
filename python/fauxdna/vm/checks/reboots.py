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
from .bench import VFS, Bench, CheckFailed
from .held import Held
from .report import Case

BOOTS: Final = 20
BOOTS_OF_A_QEMU: Final = 5
QUICK_BOOTS: Final = 3
QUICK_BOOTS_OF_A_QEMU: Final = 2


def reboots(settings: Settings, progress: Progress, *, quick: bool = False) -> Case:
    """Guests come up, compute and reboot, every few boots in a new QEMU since the last one was killed, on one server.

    In each boot no more descriptors, threads and mappings are held than in the first one, and after each QEMU's end no more than
    after the first one's; then no DMA mapping is left.
    """
    boots, life = (QUICK_BOOTS, QUICK_BOOTS_OF_A_QEMU) if quick else (BOOTS, BOOTS_OF_A_QEMU)
    case = Case("reboots")
    began = time.monotonic()
    settings = replace(settings, reboots=True)
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
                        progress(f"boot {number + 1} of {boots} on one server")
                        if number > first:
                            machine.reboot()
                        for vf in VFS:
                            bench.works(vf)
                        _same(running, f"in boot {number + 1}")
                    machine.kill()
                    bench.let_go()
                _same(ended, f"after the QEMU of boot {first + 1}")
    except (CheckFailed, FauxdnaError) as error:
        case.failure = f"boot {len(running) + 1}: {error}"
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


def _same(seen: list[Held], when: str) -> None:
    growth = seen[0].growth() if seen else ""
    if growth:
        raise CheckFailed(f"{when} {growth}")
    seen.append(Held.now())
