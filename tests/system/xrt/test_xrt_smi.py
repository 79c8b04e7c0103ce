"""AMD's xrt-smi, as Debian ships it."""

from __future__ import annotations

import json
import re

import pytest
from _kernels import assemble_kernels
from _xrt import Xrt

pytestmark = pytest.mark.trixie

BDF = "0000:05:00.1"
REPORTS = {"platform": "platforms", "aie-partitions": "aie_partitions", "telemetry": "telemetry", "preemption": "telemetry"}
"""Of a device, by name, as ``xrt-smi examine --help`` lists them, and the part of a JSON document that each fills."""
RUNS = """
import subprocess, pyxrt
device = pyxrt.device(0)
context = pyxrt.hw_context(device, pyxrt.elf("many.elf"))
buffers = [pyxrt.ext.bo(device, 4096) for _ in range(2)]
for name, arguments in (("copy:one", 2), ("copy:two", 2), ("bad:inst0", 1), ("copy:two", 2)):
    run = pyxrt.run(pyxrt.ext.kernel(context, name))
    for index in range(arguments):
        run.set_arg(index, buffers[index])
    run.start()
    run.wait()
subprocess.run(["xrt-smi", "examine", "-r", "aie-partitions", "-f", "JSON", "-o", "report.json"], check=True)
"""


def test_examine_finds_the_npu(xrt: Xrt) -> None:
    text = xrt.run("xrt-smi", "examine").stdout
    assert f"|[{BDF}]  |RyzenAI-npu3-vf  |aie4" in text
    # The driver is not the kernel's, and says so; its number is that of Linux 7.2's.
    assert re.search(r"amdxdna Version +: 0\.10\.0, fauxdna-", text)


def test_examine_gives_all_reports(xrt: Xrt) -> None:
    text = xrt.run("xrt-smi", "examine", "-r", "all").stdout
    for title in ("System Configuration", "Device(s) Present", "AIE Partitions", "Platform", "Power Mode", "Telemetry"):
        assert title in text
    assert "ERROR" not in text


def test_examine_as_json(xrt: Xrt) -> None:
    xrt.run("xrt-smi", "examine", "-r", "all", "-f", "JSON", "-o", "report.json")
    report = json.loads(xrt.read("report.json"))
    (device,) = report["devices"]
    assert device["device_id"] == BDF
    assert device["platforms"][0]["static_region"]["name"].strip() == "RyzenAI-npu3-vf"


def test_each_report_of_a_named_device(xrt: Xrt) -> None:
    script = "; ".join(f"xrt-smi examine -d {BDF} -r {name} -f JSON -o {name}.json" for name in REPORTS)
    xrt.run("sh", "-ec", script)
    for name, part in REPORTS.items():
        (device,) = json.loads(xrt.read(f"{name}.json"))["devices"]
        assert (device["device_id"], bool(device[part])) == (BDF, True)


def test_a_device_that_is_not_there(xrt: Xrt) -> None:
    done = xrt.run("xrt-smi", "examine", "-d", "0000:06:00.1", "-r", "platform", check=False)
    assert done.returncode == 1
    assert f"[{BDF}]" in done.stdout + done.stderr


def test_a_program_s_runs_are_counted(xrt: Xrt) -> None:
    """Four went in, three of them ended well, and one failed, in the only column that the ELF asks for."""
    xrt.need_scratch_pad(1)
    assemble_kernels(xrt)
    xrt.run("python3", "-c", RUNS)
    (device,) = json.loads(xrt.read("report.json"))["devices"]
    (partition,) = device["aie_partitions"]["partitions"]
    assert (partition["start_col"], partition["num_cols"]) == ("0", "1")
    (context,) = partition["hw_contexts"]
    assert [context[f"command_{name}"] for name in ("submissions", "completions")] == ["4", "3"]
    assert (context["errors"], context["suspensions"], context["migrations"]) == ("1", "0", "0")


@pytest.mark.parametrize("mode", ["powersaver", "balanced", "performance", "turbo", "default"])
def test_configured_power_modes_are_seen(xrt: Xrt, mode: str) -> None:
    script = f"xrt-smi configure --pmode {mode} && xrt-smi examine -r platform"
    text = xrt.run("sh", "-c", script).stdout
    assert f"Power Mode             : {mode}" in text


def test_several_functions_are_several_devices(xrt: Xrt) -> None:
    text = xrt.run("xrt-smi", "examine", options=("--functions", "vf=3")).stdout
    assert [f"[0000:05:00.{index}]" in text for index in (1, 2, 3)] == [True] * 3


def test_linux_7_2_alone_is_enough(xrt: Xrt) -> None:
    """Facts of issue B: with Linux 7.2's surface only, examine still succeeds."""
    assert "RyzenAI-npu3-vf" in xrt.run("xrt-smi", "examine", options=("--uapi", "7.2")).stdout
