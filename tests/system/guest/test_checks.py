"""The built-in checks on the stock driver, and on a device that is not well."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from pathlib import Path

from fauxdna.serve import Fault
from fauxdna.vm import Settings
from fauxdna.vm.checks import run_checks

FULL = bool(os.environ.get("FAUXDNA_FULL"))
"""All repetitions: 1,000 contexts, 100 VF cycles, 20 boots on one server; five minutes and more."""


def quiet(_text: str) -> None:
    """Progress that nobody reads."""


def test_the_stock_driver_passes_every_check(equipment: dict[str, dict[str, bytes]], tmp_path: Path) -> None:
    report = run_checks(Settings(**equipment), quiet, quick=not FULL)
    assert [(case.name, case.failure) for case in report.cases if case.failure] == []
    assert report.kernel.startswith("7.2.")
    report.write(tmp_path / "junit.xml")
    cases = {case.get("name"): case for case in ET.parse(tmp_path / "junit.xml").getroot().iter("testcase")}
    expected = {
        "boot",
        "probe",
        "refusals",
        "contexts",
        "wait",
        "wait_timeout",
        "vf_cycles",
        "unload_and_load",
        "reset_under_load",
    }
    assert expected | {"surprise_removal", "tampered_firmware", "silent_mailbox", "lost_interrupt", "reboots"} <= set(cases)
    # The driver's own words stand in the report.
    evidence = cases["silent_mailbox"].findtext("system-out") or ""
    assert "aie4_hwctx_create: create ctx failed: -62" in evidence


def test_a_driver_that_does_not_come_up_fails_with_its_own_words(equipment: dict[str, dict[str, bytes]]) -> None:
    report = run_checks(Settings(faults=[Fault.parse("firmware-tampered")], **equipment), quiet, quick=True)
    (boot,) = report.cases
    assert "VFs can't be created" in boot.failure
    # -5 is EIO, which Linux 7.2's aie_psp.c gives for a refused image.
    assert any("probe with driver amdxdna failed with error -5" in line for line in boot.evidence)
