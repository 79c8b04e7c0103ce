"""A guest under check: scripts that must end well, the log since the last look, faults, and functions by name."""

from __future__ import annotations

import re
import time
from typing import Final

from fauxdna.serve import Fault, LocalDie
from fauxdna.serve.vfio_user import VfioUserServer

from ..agent import Completed
from ..machine import Machine

PF: Final = "0000:00:05.0"
VFS: Final = ("0000:00:05.1", "0000:00:05.2")
DRIVER: Final = "/sys/bus/pci/drivers/amdxdna"
SECONDS: Final = 120.0
_LET_GO_SECONDS: Final = 30.0
_HELD: Final = "/tmp/held"
KERNEL_COMPLAINTS: Final = re.compile(
    r"WARNING: |BUG: |kernel BUG at|Oops|Call Trace|general protection|refcount_t:|possible .* deadlock|UBSAN: "
    r"|non-static key|blocked for more than|detected stall|ODEBUG: |DMA-API: |DMAR: \[DMA"
)
"""What no driver may cause, whatever a device does: also what lockdep, KASAN, UBSAN and other debugging options say."""
DRIVER_COMPLAINTS: Final = re.compile(r"amdxdna .*(\*ERROR\*|failed|timeout|bad state)")
"""What a driver says when a device fails."""


class CheckFailed(Exception):
    """A guest did not do what it should; the text says what it did instead."""


class Bench:
    """A guest, and the die behind it."""

    def __init__(self, machine: Machine, divisor: int = 1) -> None:
        self.machine = machine
        self.divisor = divisor
        """Repetitions are divided by it."""

    @property
    def die(self) -> LocalDie:
        """The guest's die."""
        return self.machine.devices.die

    @property
    def server(self) -> VfioUserServer:
        """What serves the die's functions to QEMU."""
        return self.machine.devices.server

    def log(self) -> list[str]:
        """The kernel's log lines since the last :meth:`next_log`."""
        return self.do("dmesg").splitlines()

    def next_log(self) -> list[str]:
        """The same; the log begins anew."""
        return self.do("dmesg -c").splitlines()

    def try_(self, script: str, seconds: float = SECONDS) -> Completed:
        """Runs a script, however it ends."""
        return self.machine.run(script, timeout=seconds)

    def do(self, script: str, seconds: float = SECONDS) -> str:
        """Runs a script that must end well; its output."""
        done = self.try_(script, seconds)
        if done.status:
            raise CheckFailed(f"'{script}' ended with status {done.status}\n{done.stdout}{done.stderr}")
        return done.stdout

    def expect(self, script: str, text: str, seconds: float = SECONDS) -> None:
        """Runs a script, however it ends, that must print ``text``."""
        done = self.try_(script, seconds)
        if text not in done.stdout + done.stderr:
            raise CheckFailed(f"'{script}' does not print '{text}', but\n{done.stdout}{done.stderr}")

    def inject(self, *faults: str) -> None:
        """These faults from now on; none: all is well again."""
        self.die.inject(*map(Fault.parse, faults))

    def measure(self, words: str) -> list[float]:
        """The microseconds that the probe prints."""
        return [float(number) for number in re.findall(r"([\d.]+) us", self.do(f"fauxdna-probe {words}"))]

    def hold(self) -> None:
        """Keeps packets running on the first VF from now on; what its end was is for :meth:`held`."""
        said = self.do(
            f"rm -f {_HELD}; fauxdna-probe --node {VFS[0]} --timeout 1000 hold 30 > {_HELD} 2>&1 &\n"
            f"until [ -s {_HELD} ]; do sleep 0.1; done; cat {_HELD}"
        )
        if "packets run" not in said:
            raise CheckFailed(f"packets do not run on {VFS[0]}: {said}")

    def held(self) -> str:
        """Waits until packets run no more; what the probe said of that."""
        return self.do(f"while pidof fauxdna-probe > /dev/null; do sleep 0.1; done; cat {_HELD}")

    def set_vfs(self, count: int) -> None:
        """Through the PF's driver."""
        self.do(f"echo {count} > /sys/bus/pci/devices/{PF}/sriov_numvfs")

    def let_go(self) -> None:
        """Waits until the server has noticed that the guest is gone; nothing may be mapped then."""
        deadline = time.monotonic() + _LET_GO_SECONDS
        while self.server.clients and time.monotonic() < deadline:
            time.sleep(0.01)
        if self.server.clients or self.server.dma_maps:
            raise CheckFailed(
                f"after the guest's end there are {self.server.dma_maps} DMA mappings and clients {self.server.clients}"
            )

    def works(self, function: str = VFS[0]) -> None:
        """A packet on the function's node completes."""
        self.do(f"fauxdna-probe --node {function} contexts 1")

    def bind_afresh(self, function: str) -> None:
        """Unbinds if it is bound, resets the function (else a late answer of its firmware meets the new driver), binds."""
        self.do(
            f"[ ! -e {DRIVER}/{function} ] || echo {function} > {DRIVER}/unbind\n"
            f"echo 1 > /sys/bus/pci/devices/{function}/reset\n"
            f"echo {function} > {DRIVER}/bind"
        )
