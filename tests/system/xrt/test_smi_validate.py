"""AMD's ``xrt-smi validate``, as Debian ships it, on the archive of ``fauxdna smi validate-archive``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from _xrt import Xrt

from fauxdna.artifact import archive
from fauxdna.compiler.validation import ARCHIVE, build, members

pytestmark = pytest.mark.trixie

ADVANCED = ("env", "XRTSMIAdvanced=1", "xrt-smi", "--batch", "--advanced")
"""What XRT hides from most people."""
AS_ONE = pytest.mark.parametrize("xrt", ["user"], indirect=True)
"""xrt-smi looks at its clock once a second, so each of its tests takes one."""


@pytest.fixture
def validating(xrt: Xrt) -> Xrt:
    """XRT, where its own search finds the archive: the home directory's platform repository."""
    folder = xrt.folder / ".local/share/xrt/amdxdna/bins"
    folder.mkdir(parents=True)
    (folder / ARCHIVE).write_bytes(build())
    for part in (folder, *folder.parents):
        if part == xrt.folder:
            break
        part.chmod(0o755)
    return xrt


def details(xrt: Xrt, *command: str) -> dict[str, list[str]]:
    """What each test of a run that has to succeed says, by its name."""
    report = Path(xrt.folder) / "report.json"
    report.unlink(missing_ok=True)
    xrt.run(*command, "-f", "JSON", "-o", "report.json")
    (device,) = json.loads(report.read_bytes())["logical_devices"]
    assert device["platform"] == "RyzenAI-npu3-vf"
    assert {test["status"] for test in device["tests"]} == {"PASSED"}
    return {test["name"]: [line["Details"] for line in test.get("log", ())] for test in device["tests"]}


def test_all_tests_that_people_see_pass(validating: Xrt) -> None:
    """Those of ``xrt-smi validate --help``. It switches to the mode "performance" for them."""
    validating.need_scratch_pad(3)
    said = details(validating, "xrt-smi", "validate")
    assert list(said) == ["latency", "throughput", "gemm"]
    for name, form in (("latency", r"Average latency: [\d.]+ us"), ("throughput", r"Average throughput: [\d.]+ op/s")):
        assert re.fullmatch(form, said[name][0])
    # 12 cores * 2,097,152 operations in 2048 + 16 cycles at the 847 MHz of DPM level 3, which the mode asks for.
    assert list(details(validating, *ADVANCED, "validate", "-r", "tct-all-col")) == ["tct-all-col"]
    assert said["gemm"] == [f"TOPS: {12 * 2_097_152 * 847e6 / 2064 / 1e12:.1f}"] == ["TOPS: 10.3"]


@pytest.mark.parametrize("xrt", ["root"], indirect=True)
@pytest.mark.parametrize("mode", [("turbo", 1200), ("powersaver", 400)])
def test_operations_a_second_follow_the_power_mode(validating: Xrt, mode: tuple[str, int]) -> None:
    validating.need_scratch_pad(3)
    name, megahertz = mode
    said = details(validating, *ADVANCED, "--verbose", "validate", "-r", "gemm", "--pmode", name)
    text = "\n".join(said["gemm"])
    assert f"Clock Frequency: {megahertz} MHz" in text
    assert "Average cycle count: 2064.0" in text
    assert f"TOPS: {12 * 2_097_152 * megahertz * 1e6 / 2064 / 1e12:.1f}" in text


@AS_ONE
def test_what_xrt_hides_passes_too(validating: Xrt) -> None:
    validating.need_scratch_pad(1)
    names = ["runlist-latency", "runlist-throughput", "tct-one-col", "sanity"]
    assert list(details(validating, *ADVANCED, "validate", "-r", *names)) == names


@AS_ONE
def test_sanity_fails_where_a_byte_is_another(validating: Xrt) -> None:
    validating.need_scratch_pad(1)
    programs = members()
    golden = bytearray(programs["ofm_sanity_npu3.bin"])
    golden[-1] ^= 1
    path = validating.folder / ".local/share/xrt/amdxdna/bins" / ARCHIVE
    path.write_bytes(archive.write(programs | {"ofm_sanity_npu3.bin": bytes(golden)}))
    done = validating.run(*ADVANCED, "validate", "-r", "sanity", check=False)
    assert (done.returncode, f"gold[{len(golden) - 1}] = " in done.stdout) == (1, True)


def test_without_an_archive_it_says_what_it_looked_for(xrt: Xrt) -> None:
    done = xrt.run("xrt-smi", "validate", check=False)
    assert (done.returncode, f"Archive not found: amdxdna/bins/{ARCHIVE}" in done.stdout + done.stderr) == (1, True)
