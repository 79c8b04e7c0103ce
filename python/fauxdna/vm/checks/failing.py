"""Checks of a driver on a device that fails: the driver says so, the kernel stays well, and a fresh bind works."""

from __future__ import annotations

import time
from typing import Final

from .bench import DRIVER, DRIVER_COMPLAINTS, PF, VFS, Bench, CheckFailed

VF: Final = VFS[0]
_EIO: Final = "failed with error -5"
"""As Linux 7.2 ``really_probe`` (drivers/base/dd.c) has it."""
_UNPLUGGED: Final = "vf0"
LOST_MS: Final = 500
SLOW_MS: Final = 1000


def context_error(bench: Bench) -> None:
    """A packet that fails has its completion word, and later ones run."""
    bench.inject("context-error:every=2,reason=3")
    bench.expect(f"fauxdna-probe --node {VF} hold 1", "packet 1 ended with completion word 0x35")
    bench.inject()
    bench.works()


def lost_interrupt(bench: Bench) -> None:
    """WAIT_CMD finds out by itself that its packet is done, when its time is over."""
    bench.inject("lost-interrupt:on=vf,vector=1")
    (woken,) = bench.measure(f"--node {VF} --timeout {LOST_MS} woken 3")
    if woken < LOST_MS * 1e3:
        raise CheckFailed("WAIT_CMD returned before its time was over, without an interrupt")
    bench.inject()
    bench.works()


def silent_mailbox(bench: Bench) -> None:
    """A message without an answer fails with ETIME, later ones with ENODEV; after a reset a fresh bind works."""
    bench.inject("mailbox-silent:on=vf")
    bench.expect(f"fauxdna-probe --node {VF} contexts 1", "CREATE_HWCTX: Timer expired")
    bench.expect(f"fauxdna-probe --node {VF} contexts 1", "CREATE_HWCTX: No such device")
    bench.inject()
    _complained(bench)
    bench.bind_afresh(VF)
    bench.works()


def slow_firmware(bench: Bench) -> None:
    """An answer after a second is waited for."""
    bench.inject(f"mailbox-slow:on=vf,ms={SLOW_MS}")
    began = time.monotonic()
    bench.works()
    if time.monotonic() - began < SLOW_MS / 1e3:
        raise CheckFailed("a context was created before firmware had answered")
    bench.inject()
    bench.works()


def reset_under_load(bench: Bench) -> None:
    """A reset of a VF whose packets run: waiting ends, and a fresh bind works."""
    bench.hold()
    bench.reset(VF)
    bench.held("after the function's reset")
    bench.bind_afresh(VF)
    bench.works()
    bench.works(VFS[1])


def surprise_removal(bench: Bench) -> None:
    """A VF that vanishes under load reads all ones: calls fail, unbinding works, and so does a bind when it is back."""
    bench.hold()
    bench.unplug(_UNPLUGGED)
    bench.held("after the function's removal")
    bench.expect(f"fauxdna-probe --node {VF} contexts 1", "CREATE_HWCTX: No such device")
    bench.do(f"echo {VF} > {DRIVER}/unbind")
    _complained(bench)
    bench.plug(_UNPLUGGED)
    bench.do(f"echo {VF} > {DRIVER}/bind")
    bench.works()
    bench.works(VFS[1])


def tampered_firmware(bench: Bench) -> None:
    """The PSP refuses an image with one wrong bit, the driver's probe fails with EIO, and untampered firmware loads."""
    bench.set_vfs(0)
    for image in ("npu", "cert"):
        bench.do(f"echo {PF} > {DRIVER}/unbind")
        bench.inject(f"firmware-tampered:image={image}")
        if not bench.try_(f"echo {PF} > {DRIVER}/bind").status:
            raise CheckFailed(f"the driver bound with a tampered {image} image")
        if not any(_EIO in line for line in bench.log()):
            raise CheckFailed(f"a tampered {image} image is not refused with EIO")
        bench.inject()
        bench.do(f"echo {PF} > {DRIVER}/bind")
    bench.set_vfs(2)
    bench.works()


def _complained(bench: Bench) -> None:
    if not any(DRIVER_COMPLAINTS.search(line) for line in bench.log()):
        raise CheckFailed("the driver says nothing of it in the kernel's log")
