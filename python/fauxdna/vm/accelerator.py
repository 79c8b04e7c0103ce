"""Whether KVM can run a guest here: tried once, because some virtual machines offer a /dev/kvm that can't."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

from fauxdna.cache import cache_folder
from fauxdna.errors import Unsupported

from .command import QUICK, Accelerator
from .kernel import Kernel
from .packages import Progress
from .qemu import Qemu

_DEVICE: Final = Path("/dev/kvm")
_TRIAL_SECONDS: Final = 4.0
"""A kernel without a root panics within a second under KVM, and QEMU ends; where KVM does not work it prints nothing for ever."""
_WORKS: Final = "works"


def choose(wanted: Accelerator, qemu: Qemu, kernel: Kernel, progress: Progress) -> Accelerator:
    """KVM or TCG. ``auto`` takes KVM where a trial shows that it works; ``kvm`` insists."""
    if wanted is Accelerator.TCG:
        return wanted
    if os.access(_DEVICE, os.R_OK | os.W_OK):
        return Accelerator.KVM if wanted is Accelerator.KVM or _verdict(qemu, kernel, progress) else Accelerator.TCG
    there = _DEVICE.exists()
    if wanted is Accelerator.KVM:
        reason = "this user may not open it" if there else "there is none"
        raise Unsupported(f"KVM needs {_DEVICE}, and {reason}", "use --accel tcg, or join the group kvm")
    if there:
        progress(f"this user may not open {_DEVICE} (group kvm): without KVM it is slower")
    return Accelerator.TCG


def _verdict(qemu: Qemu, kernel: Kernel, progress: Progress) -> bool:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    known = cache_folder() / "vm" / "kvm"
    key = f"{boot} {'.'.join(map(str, qemu.version))}"
    with suppress(OSError):
        stored, _, verdict = known.read_text().strip().rpartition(" ")
        if stored == key:
            return verdict == _WORKS
    progress("trying KVM")
    works = _trial(qemu, kernel)
    with suppress(OSError):  # A cache that can't be written has the trial made again.
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text(f"{key} {_WORKS if works else 'fails'}\n")
    return works


def _trial(qemu: Qemu, kernel: Kernel) -> bool:
    line = " ".join(("console=ttyS0", "panic=-1", *QUICK))
    machine = ["-accel", "kvm", "-cpu", "host", "-m", "256M", "-machine", "q35", "-nodefaults", "-no-user-config"]
    output = ["-display", "none", "-no-reboot", "-serial", "stdio", "-kernel", str(kernel.image), "-append", line]
    try:
        result = subprocess.run(
            [*qemu.command, *qemu.options(), *machine, *output],
            env={**os.environ, **qemu.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TRIAL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return b"Kernel panic" in result.stdout
