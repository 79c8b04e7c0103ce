"""Measures stock Linux on the device: how fast a guest comes up, how long it waits for us, and commands and a model inside it."""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ._convolution import RUNS, outside, sizes

if TYPE_CHECKING:
    from ..artifact.program import ArrayStep
    from ..vm import Machine

BOOTS: Final = 5
VFS: Final = 2
VF_ROUNDS: Final = 3
VF_MANY: Final = 7
SRIOV_WAIT_S: Final = 0.1
"""Linux 7.2 ``drivers/pci/iov.c`` ``sriov_enable`` sleeps so long after VF Enable."""
COMMANDS: Final = 2000
_OPEN: Final = "exec 9<>/dev/accel/accel1"
_PF: Final = "/sys/bus/pci/devices/0000:00:05.0"


def guest(*, progress: Callable[[str], None], boots: int = BOOTS) -> dict[str, Any]:
    """Boots guests with the PF and VFs, and measures in the last one.

    Returns:
        Medians: ``boot_to_accel_s`` (from starting QEMU to the first open of a VF's node), ``device_ms`` (of it, time in which
        the guest waited for the device), ``boot_<phase>_s``, ``vf_ms`` (a VF's create, beyond Linux's fixed wait),
        ``doorbell_to_wait_us`` and ``doorbell_to_polled_us`` (an empty packet), ``model_ms`` and ``model_outside_ms`` (one ELF),
        and ``model_ratio``, ``accelerator`` and ``boots``.
    """
    from ..vm import Machine, Settings, Share
    from ..vm.programs import PROBE, probe

    progress("the model outside")
    step, outside_ms = outside()
    booted: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model.elf").write_bytes(step.elf)
        settings = Settings(vfs=VFS, shares=[Share(folder, "/mnt/work", read_only=True)], programs={PROBE: probe()})
        for number in range(boots):
            progress(f"boot {number + 1} of {boots}")
            with Machine(settings) as machine:
                booted.append(_booted(machine))
                if number == boots - 1:
                    progress("commands and a model")
                    inside = _inside(machine, step)
                accelerator = machine.accelerator.value
    progress(f"{VF_MANY} VFs")
    with Machine(Settings(vfs=VF_MANY)) as machine:
        vf_ms = _vf_ms(machine)
    return {
        **{key: statistics.median(boot[key] for boot in booted) for key in booted[0]},
        "vf_ms": vf_ms,
        **inside,
        "model_outside_ms": outside_ms,
        "model_ratio": inside["model_ms"] / outside_ms,
        "accelerator": accelerator,
        "boots": boots,
    }


def _booted(machine: Machine) -> dict[str, float]:
    """Opens a VF's node, first of all."""
    begun = time.monotonic()
    done = machine.run(_OPEN)
    opened = time.monotonic() - begun
    _check(done.status, done.stderr)
    phases = {name: host for name, (host, _uptime) in machine.booted.phases.items()}
    return {
        "boot_to_accel_s": phases["ready"] + opened,
        "device_ms": machine.devices.server.busy_ns / 1e6,
        **{f"boot_{name}_s": seconds for name, seconds in phases.items()},
    }


def _inside(machine: Machine, step: ArrayStep) -> dict[str, float]:
    latency = machine.run(["fauxdna-probe", "latency", str(COMMANDS)])
    _check(latency.status, latency.stderr)
    wait_us, polled_us = map(float, re.findall(r"([\d.]+) us", latency.stdout))
    zeros = [f"zeros:{size}" for size in sizes(step)]
    ran = machine.run(["fauxdna-probe", "run", "-n", str(RUNS), "/mnt/work/model.elf", *zeros])
    _check(ran.status, ran.stderr)
    (model_ms,) = map(float, re.findall(r"([\d.]+) ms", ran.stdout))
    return {"doorbell_to_wait_us": wait_us, "doorbell_to_polled_us": polled_us, "model_ms": model_ms}


def _vf_ms(machine: Machine) -> float:
    """Creates all VFs; what a command costs anyway is taken off."""

    def timed(script: str) -> float:
        begun = time.monotonic()
        done = machine.run(script)
        seconds = time.monotonic() - begun
        _check(done.status, done.stderr)
        return seconds

    rounds = []
    for _ in range(VF_ROUNDS):
        timed(f"echo 0 > {_PF}/sriov_numvfs")
        idle = timed(f"cat {_PF}/sriov_numvfs")
        rounds.append((timed(f"echo {VF_MANY} > {_PF}/sriov_numvfs") - idle - SRIOV_WAIT_S) * 1e3 / VF_MANY)
    return statistics.median(rounds)


def _check(status: int, message: str) -> None:
    from ..vm import GuestError

    if status:
        raise GuestError(f"a measurement failed in the guest: {message.strip()}", "look at its log: fauxdna vm --dmesg -- true")
