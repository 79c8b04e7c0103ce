"""``fauxdna smi``: the view of nodes through both doors, and the command's mistakes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from _doors import DecodingKernel, HandMadeQueue
from _patience import PATIENCE_MS
from test_cli import fauxdna

from fauxdna.abi.uapi import DeviceType, PowerMode
from fauxdna.abi.uapi_next import Level
from fauxdna.accel.machine import Machine
from fauxdna.accel.overview import overview, set_force_preemption, set_power_mode
from fauxdna.accel.real import RealFile
from fauxdna.cli import smi
from fauxdna.cli._output import Output


def test_the_view_follows_the_state(host: Machine, tmp_path: Path) -> None:
    node = tmp_path / "accel0"
    node.touch()
    with host.open(level=Level.NEXT) as local, RealFile(node, DecodingKernel(local)) as file:
        view = overview(file)
        assert (view["power_mode"], view["clocks_mhz"], view["tops"]) == (
            "default",
            {"mp_npu": 1200, "h": 1200},
            {"now": 14, "max": 14},
        )
        assert (view["contexts"], view["processes"], view["last_error"]) == ([], [], None)
        assert view["array"] == {"columns": 3, "rows": 6}
        assert view["firmware"] == {"npu": "1.1.0.1", "cert": "1.0.0.1"}
        set_power_mode(file, PowerMode.LOW)
        set_force_preemption(file, True)
        queue = HandMadeQueue(local, padded=True, tiles=8)
        local.wait_cmd(queue.handle, queue.put(), PATIENCE_MS)
        local.wait_cmd(queue.handle, queue.put(opcode=99), PATIENCE_MS)
        view = overview(file)
        assert (view["power_mode"], view["clocks_mhz"], view["tops"]["now"]) == ("low", {"mp_npu": 400, "h": 400}, 4)
        assert view["force_preemption"] is True
        (context,) = view["contexts"]
        assert (context["pid"], context["columns"], context["state"]) == (os.getpid(), [0, 1], "idle")
        assert (context["submitted"], context["completed"], context["errors"]) == (2, 1, 1)
        (process,) = view["processes"]
        assert (process["bo_bytes"], process["internal_bytes"]) == (8192, 8192)
        assert view["last_error"]["text"] == "a context's packet failed"


def test_linux_7_2_tells_little(host: Machine) -> None:
    with host.open() as file:
        view = overview(file)
    assert view["array"] == {"columns": 3, "rows": 6}
    told = {name for name, value in view.items() if value is not None}
    assert told == {"node", "attributes", "driver", "firmware", "array"}
    assert view["firmware"] == {"npu": None, "cert": None}


def test_what_is_printed(host: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    with host.open(DeviceType.PF, level=Level.NEXT) as pf, host.open(level=Level.NEXT) as vf, host.open() as old:
        HandMadeQueue(vf, padded=True)
        smi.show([pf, vf], Output(as_json=False))
        text = capsys.readouterr().out
        assert "RyzenAI-npu3-vf" in text
        assert "MP-NPU 1200 MHz, H 1200 MHz" in text
        assert "Contexts" in text
        smi.show([old], Output(as_json=False))
        assert "not told" in capsys.readouterr().out
        smi.show([pf, vf], Output(as_json=True))
        document = json.loads(capsys.readouterr().out)
        assert [node["node"] for node in document["nodes"]] == [pf.name, vf.name]
        assert [len(node["contexts"]) for node in document["nodes"]] == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--device", "/nowhere/accel0"], 1, "can't be opened"),
        (["--die", "/nowhere/die.sock"], 1, "no die at"),
        (["set"], 2, "power-mode"),
        (["set", "--power-mode", "warp"], 2, "warp"),
    ],
)
def test_mistakes(arguments: list[str], status: int, message: str) -> None:
    assert message in fauxdna("smi", *arguments, status=status).stderr


def test_help_has_an_example() -> None:
    assert "Example: fauxdna smi" in fauxdna("smi", "--help").stdout
    assert "Example: fauxdna smi set" in fauxdna("smi", "set", "--help").stdout
