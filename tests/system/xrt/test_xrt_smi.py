"""AMD's xrt-smi, as Debian ships it."""

from __future__ import annotations

import json

import pytest
from _xrt import Xrt

pytestmark = pytest.mark.trixie

REPORTS = ("host", "platform", "aie-partitions", "telemetry", "preemption")


def test_examine_finds_the_npu(xrt: Xrt) -> None:
    text = xrt.run("xrt-smi", "examine").stdout
    assert "|[0000:05:00.1]  |RyzenAI-npu3-vf  |aie4" in text


def test_examine_gives_all_reports(xrt: Xrt) -> None:
    text = xrt.run("xrt-smi", "examine", "-r", "all").stdout
    for title in ("System Configuration", "Device(s) Present", "AIE Partitions", "Platform", "Power Mode", "Telemetry"):
        assert title in text
    assert "ERROR" not in text


def test_examine_as_json(xrt: Xrt) -> None:
    xrt.run("xrt-smi", "examine", "-r", "all", "-f", "JSON", "-o", "report.json")
    report = json.loads(xrt.read("report.json"))
    (device,) = report["devices"]
    assert device["device_id"] == "0000:05:00.1"
    assert device["platforms"][0]["static_region"]["name"].strip() == "RyzenAI-npu3-vf"


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
