"""Runs the checks: most in one guest, the last in guests that reboot on one server."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from fauxdna.errors import FauxdnaError

from ..machine import Machine, Settings
from ..packages import Progress
from . import driver, failing
from .bench import KERNEL_COMPLAINTS, LOG_SIZE, VFS, Bench, CheckFailed, complaints, from_the_driver_on
from .reboots import reboots
from .report import Case, Report

Check = Callable[[Bench], Mapping[str, float] | None]

ON_GOOD_DEVICE: Final[tuple[Check, ...]] = (
    driver.probe,
    driver.model,
    driver.wait,
    driver.wait_timeout,
    driver.contexts,
    driver.vf_cycles,
    driver.unload_and_load,
)
"""The driver may not complain in these."""
ON_BAD_DEVICE: Final[tuple[Check, ...]] = (
    driver.refusals,
    failing.context_error,
    failing.lost_interrupt,
    failing.silent_mailbox,
    failing.slow_firmware,
    failing.reset_under_load,
    failing.surprise_removal,
    failing.tampered_firmware,
)
"""The driver names what it refuses or what failed; the kernel itself may not complain."""


def run_checks(settings: Settings, progress: Progress, *, quick: bool = False) -> Report:
    """Boots guests of ``settings`` (with the PF and two VFs, whatever they say), and checks the driver in them.

    Args:
        settings: With the probe among its programs and the small model among its files.
        progress: Told which check runs.
        quick: A tenth of the repetitions: a minute instead of six.
    """
    arguments = [*settings.kernel_arguments, LOG_SIZE]
    settings = replace(settings, vfs=len(VFS), pf=True, console=False, verbose=True, kernel_arguments=arguments)
    report = Report("?")
    boot = Case("boot")
    began = time.monotonic()
    machine = Machine(settings, progress=progress)
    report.cases.append(boot)
    try:
        phases = machine.boot()
    except FauxdnaError as error:
        boot.seconds, boot.failure = time.monotonic() - began, str(error)
        return report
    try:
        bench = Bench(machine, 10 if quick else 1)
        boot.seconds = time.monotonic() - began
        boot.failure = "; ".join(phases.problems)
        boot.figures = {f"{name}_s": seconds for name, (seconds, _) in phases.phases.items()}
        log = bench.next_log()
        boot.evidence = [line for line in log if "amdxdna" in line]
        bad = complaints(from_the_driver_on(log))
        if bad and not boot.failure:
            boot.failure = bad
        report.kernel = bench.do("uname -r").strip()
        if phases.problems:
            return report  # Without nodes all else fails too, and says nothing.
        for check in (*ON_GOOD_DEVICE, *ON_BAD_DEVICE):
            progress(f"checking {_name(check)}")
            case = Case(_name(check))
            report.cases.append(case)
            _run(check, bench, case)
    except FauxdnaError as error:
        # The guest is gone or hangs, and with it what would have been checked.
        case = report.cases[-1]
        case.failure = "\n".join(filter(None, (case.failure, str(error))))
        return report
    finally:
        machine.close()
    report.cases.append(reboots(settings, progress, quick=quick))
    return report


def _name(check: Check) -> str:
    return getattr(check, "__name__", "check")


def _run(check: Check, bench: Bench, case: Case) -> None:
    began = time.monotonic()
    try:
        case.figures = dict(check(bench) or {})
    except CheckFailed as failed:
        case.failure = str(failed)
        bench.restore()
    bench.inject()
    case.seconds = time.monotonic() - began
    log = bench.next_log()
    case.evidence = [line for line in log if "amdxdna" in line or KERNEL_COMPLAINTS.search(line)]
    case.failure = case.failure or complaints(log, of_driver=check in ON_GOOD_DEVICE)
