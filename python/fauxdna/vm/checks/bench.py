"""A guest under check: scripts that must end well, the log since the last look, faults, and functions by name."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final

from fauxdna.bus import BusError
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
HOLD_SECONDS: Final = 3600
"""Longer than any check."""
KERNEL_COMPLAINTS: Final = re.compile(
    r"WARNING: |BUG: |kernel BUG at|Oops|Call Trace|general protection|refcount_t:|possible .* deadlock|UBSAN: "
    r"|non-static key|blocked for more than|detected stall|ODEBUG: |DMA-API: |DMAR: \[DMA"
)
"""What no driver may cause, whatever a device does: also what lockdep, KASAN, UBSAN and other debugging options say."""
DRIVER_COMPLAINTS: Final = re.compile(r"amdxdna .*(\*ERROR\*|failed|timeout|bad state)")
"""What a driver says when a device fails."""
LOG_SIZE: Final = "log_buf_len=4M"
"""For the kernel's command line: no line of a check is overwritten before it is read."""
REPORT_LINES: Final = 80
"""Of the log, from a complaint on: enough for what lockdep says of locks and stack."""
HELD_PACKET_MS: Final = 1000
"""How long WAIT_CMD may take for a packet that :meth:`Bench.hold` has running."""
HELD_SECONDS: Final = 30.0
"""Far more than that: packets on a function that has gone have ended by then."""
_STILL: Final = "held to the end"


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
            why = (done.stderr or done.stdout).strip().rpartition("\n")[2]
            said = f": {why}\n{done.stdout}{done.stderr}" if why else ""
            raise CheckFailed(f"'{_in_a_line(script)}' ended with status {done.status}{said}")
        return done.stdout

    def expect(self, script: str, text: str, seconds: float = SECONDS) -> None:
        """Runs a script, however it ends, that must print ``text``."""
        done = self.try_(script, seconds)
        if text not in done.stdout + done.stderr:
            said = done.stdout + done.stderr
            raise CheckFailed(f"'{_in_a_line(script)}' does not print '{text}', but '{_in_a_line(said)}'\n{said}")

    def inject(self, *faults: str) -> None:
        """These faults from now on; none: all is well again."""
        self.die.inject(*map(Fault.parse, faults))

    def measure(self, words: str) -> list[float]:
        """The microseconds that the probe prints."""
        return [float(number) for number in re.findall(r"([\d.]+) us", self.do(f"fauxdna-probe {words}"))]

    def hold(self) -> None:
        """Keeps packets running on the first VF from now on; what its end was is for :meth:`held`."""
        done = self.try_(
            f"exec 2> /dev/null; rm -f {_HELD}\n"  # What an earlier one said is not to be taken for this one's.
            f"fauxdna-probe --node {VFS[0]} --timeout {HELD_PACKET_MS} hold {HOLD_SECONDS} > {_HELD} 2>&1 &\n"
            f"until grep -q '^packets run' {_HELD}; do kill -0 $! || {{ cat {_HELD}; exit 1; }}; sleep 0.05; done"
        )
        if done.status:
            raise CheckFailed(f"packets do not run on {VFS[0]}: {done.stdout}{done.stderr}")

    def held(self, after: str) -> None:
        """Packets that :meth:`hold` has running must end, because WAIT_CMD fails, and soon ``after`` what was done."""
        self.try_(
            "read -r begun rest < /proc/uptime\n"
            "while pidof fauxdna-probe > /dev/null; do\n"
            "    read -r now rest < /proc/uptime\n"
            f"    [ $((${{now%.*}} - ${{begun%.*}})) -lt {HELD_SECONDS:.0f} ] ||\n"
            f"        {{ echo {_STILL} >> {_HELD}; kill $(pidof fauxdna-probe); exit; }}\n"
            "    sleep 0.1\n"
            "done"
        )
        said = self.do(f"cat {_HELD}")
        if _STILL in said:
            raise CheckFailed(f"{HELD_SECONDS:g} s {after}, packets still run or wait on {VFS[0]}\n{said}")
        if "WAIT_CMD of packet" not in said:
            raise CheckFailed(f"{after}, WAIT_CMD did not fail, but the probe said '{_in_a_line(said)}'\n{said}")

    def unplug(self, function: str) -> None:
        """A function of the server is not there any more; :meth:`plug` puts it back."""
        try:
            self.server.unplug(function)
        except BusError as error:
            raise CheckFailed(str(error.strerror)) from None

    def plug(self, function: str) -> None:
        """The opposite."""
        try:
            self.server.plug(function)
        except BusError as error:
            raise CheckFailed(str(error.strerror)) from None

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

    def restore(self) -> None:
        """The PF and two VFs that work, as far as they can be had, after a check that failed: it is the only one to suffer."""
        self.inject()
        for number in range(len(VFS)):
            with suppress(CheckFailed):
                self.plug(f"vf{number}")
        self.try_("kill $(pidof fauxdna-probe) && while pidof fauxdna-probe; do sleep 0.1; done")
        self.try_(f"[ -e {DRIVER}/{PF} ] || echo {PF} > {DRIVER}/bind")
        if any(self.try_(f"fauxdna-probe --node {vf} contexts 1").status for vf in VFS):
            self.try_(f"cd /sys/bus/pci/devices/{PF}; echo 0 > sriov_numvfs; echo {len(VFS)} > sriov_numvfs")

    def reset(self, function: str) -> None:
        """Through the kernel."""
        self.do(f"echo 1 > /sys/bus/pci/devices/{function}/reset")

    def bind_afresh(self, function: str) -> None:
        """Unbinds if it is bound, resets the function (else a late answer of its firmware meets the new driver), binds."""
        self.do(
            f"[ ! -e {DRIVER}/{function} ] || echo {function} > {DRIVER}/unbind\n"
            f"echo 1 > /sys/bus/pci/devices/{function}/reset\n"
            f"echo {function} > {DRIVER}/bind"
        )


def complaints(log: Iterable[str], *, of_driver: bool = False) -> str:
    """What is wrong with a log; "" if nothing."""
    patterns = (KERNEL_COMPLAINTS, *([DRIVER_COMPLAINTS] if of_driver else []))
    lines, bad = list(log), list[str]()
    first = next((at for at, line in enumerate(lines) if any(pattern.search(line) for pattern in patterns)), None)
    if first is not None:
        bad = ["the kernel's log has complaints: " + lines[first].partition("] ")[2], *lines[first : first + REPORT_LINES]]
    return "\n".join(bad)


def from_the_driver_on(log: Iterable[str]) -> Iterator[str]:
    """A boot's log from the driver's first line on: what came before is not the driver's doing."""
    return itertools.dropwhile(lambda line: "amdxdna" not in line, log)


def _in_a_line(text: str) -> str:
    return "; ".join(text.strip().splitlines())
