"""What AMD's xrt-smi, as Debian ships it, says of a die that works: each state that is brought about is seen in its reports."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from _kernels import assemble_kernels
from _patience import PATIENCE
from _xrt import EXAMPLES, Xrt

from fauxdna.compiler.validation import ARCHIVE, build, gemm

pytestmark = pytest.mark.trixie

ADVANCED = "env XRTSMIAdvanced=1 xrt-smi --batch --advanced"
"""Reports and settings that XRT shows to those who ask for them."""
MODES = {"default": "default", "low": "powersaver", "medium": "balanced", "high": "performance", "turbo": "turbo"}
"""Power modes, as Linux and as XRT call them."""
LAYERS = """
import pyxrt
device = pyxrt.device(0)
contexts = [pyxrt.hw_context(device, pyxrt.elf("nested.elf")) for _ in range(3)]
buffer = pyxrt.ext.bo(device, 4096)
for index, context in enumerate(contexts):
    run = pyxrt.run(pyxrt.ext.kernel(context, "DPU:inst0"))
    run.set_arg(0, buffer)
    for _ in range(2 * index):
        run.start()
        assert run.wait() == pyxrt.ert_cmd_state.ERT_CMD_STATE_COMPLETED
"""
RUNS = """
import sys, pyxrt
device = pyxrt.device(0)
context = pyxrt.hw_context(device, pyxrt.elf("many.elf"))
buffers = [pyxrt.ext.bo(device, 4096) for _ in range(2)]
for name, arguments in (("copy:one", 2), ("copy:two", 2), ("bad:inst0", 1)):
    run = pyxrt.run(pyxrt.ext.kernel(context, name))
    for index in range(arguments):
        run.set_arg(index, buffers[index])
    run.start()
    run.wait()
print("ready", flush=True)
sys.stdin.readline()
"""
WISHES = """
import sys
from pathlib import Path
from fauxdna.abi.uapi import BoType
from fauxdna.accel import Qos
from fauxdna.accel.real import RealFile
file = RealFile(Path("/dev/accel/accel0"))
queue = file.create_bo(0x2000, BoType.CMD)
file.create_hwctx(queue, 8, Qos(gops=3, fps=30, latency=7, priority=0x180))
print("ready", flush=True)
sys.stdin.readline()
"""
"""A context of two columns with a quality of service, which XRT 2.25's shim does not pass on for ELFs."""


@contextmanager
def running(command: Sequence[str], xrt: Xrt) -> Iterator[int]:
    """A program that says when it is ready, and waits until it is not needed any more; its process."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **xrt.place())
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("ready")
            yield process.pid
        finally:
            process.communicate(timeout=PATIENCE)


def report(xrt: Xrt, *names: str, options: tuple[str, ...] = (), tool: str = "xrt-smi") -> Any:
    """Reports as JSON: what is said of the only device."""
    xrt.run("sh", "-c", f"{tool} --force examine -r {' '.join(names)} -f JSON -o report.json", options=options)
    document = json.loads(xrt.read("report.json"))
    (device,) = document["devices"]
    return device | {"host": document["system"]["host"]["devices"][0]} if "system" in document else device


def contexts(device: Any) -> dict[tuple[int, int], dict[str, str]]:
    """By process and number, with the columns of their partitions."""
    return {
        (int(context["pid"]), int(context["context_id"])): context
        | {"columns": [int(part["start_col"]), int(part["start_col"]) + int(part["num_cols"]) - 1]}
        for part in device["aie_partitions"]["partitions"]
        for context in part["hw_contexts"]
    }


def need_root(xrt: Xrt) -> None:
    """Skips for an ordinary user: xrt-smi itself looks who asks."""
    if xrt.runner.prefix or os.geteuid() != 0:
        pytest.skip("xrt-smi leaves this to root")


def test_fauxdna_smi_says_the_same(xrt: Xrt) -> None:
    """Field by field, with contexts of two processes: one of XRT that worked and failed, one of our own with wishes."""
    xrt.need_scratch_pad(1)
    assemble_kernels(xrt)
    die = ("--die", str(xrt.folder / "die.sock"))
    with ExitStack() as stack:
        serve = xrt.runner.command("serve", "--socket", die[1], "--vfs", "1")
        daemon = stack.enter_context(subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, env=xrt.runner.environment))
        stack.callback(daemon.terminate)
        assert daemon.stdout is not None
        assert daemon.stdout.readline().startswith("ready")
        python = ("exec", "--quiet", *die, "--", xrt.runner.python, "-c", WISHES)
        xrt_pid = stack.enter_context(running(xrt.command("python3", "-c", RUNS, options=die), xrt))
        own_pid = stack.enter_context(running(xrt.runner.command(*python), xrt))
        subprocess.run(xrt.runner.command("smi", "set", *die, "--power-mode", "medium"), check=True, env=xrt.runner.environment)
        theirs = report(xrt, "all", options=die)
        # Two reports of the name "telemetry" are in that: by itself, each is found.
        rtos = report(xrt, "telemetry", options=die)["telemetry"]
        clocks = report(xrt, "clocks", options=die, tool=ADVANCED)["clocks"]
        smi = xrt.runner.command("smi", *die, "--json")
        done = subprocess.run(smi, capture_output=True, text=True, timeout=PATIENCE, check=True, env=xrt.runner.environment)
        (ours,) = [view for view in json.loads(done.stdout)["nodes"] if view["contexts"] is not None and view["array"]]

        host, platform = theirs["host"], theirs["platforms"][0]
        assert [host["firmware_version"], host["cert_firmware_version"]] == list(ours["firmware"].values())
        assert host["aie_topology"] == f"{ours['array']['rows']}x{ours['array']['columns']}"
        assert platform["static_region"] == {
            "name": ours["attributes"]["vbnv"],
            "total_columns": str(ours["array"]["columns"]),
        }
        assert platform["status"]["power_mode"] == MODES[ours["power_mode"]] == "balanced"
        assert "thermal" not in platform
        assert [int(clock["freq_mhz"]) for clock in clocks] == list(ours["clocks_mhz"].values()) == [1108, 576]

        shown = contexts(theirs)
        assert [*shown] == [(item["pid"], item["id"]) for item in ours["contexts"]]
        assert {pid for pid, _ in shown} == {xrt_pid, own_pid}
        for item in ours["contexts"]:
            context = shown[item["pid"], item["id"]]
            assert context["columns"] == item["columns"]
            assert context["status"] == item["state"].capitalize() == "Idle"
            for field, name in (
                ("command_submissions", "submitted"),
                ("command_completions", "completed"),
                ("errors", "errors"),
                ("suspensions", "suspensions"),
                ("migrations", "migrations"),
            ):
                assert context[field] == str(item[name])
            for name in ("gops", "fps", "latency"):
                assert context[name] == (str(item[name]) if item[name] else "N/A")
        assert [shown[xrt_pid, 1][name] for name in ("command_submissions", "command_completions", "errors")] == ["3", "2", "1"]
        wished = shown[own_pid, 1]
        assert [wished[name] for name in ("gops", "fps", "latency", "priority")] == ["3", "30", "7", "High"]
        assert ours["contexts"][1]["priority"] == "high"

        telemetry = ours["telemetry"]
        tasks = rtos["rtos_tasks"][: len(telemetry["tasks"])]
        fields = {"started": "started_count", "scheduled": "scheduled_count", "resources": "resource_acquisition_count"}
        for name, field in fields.items():
            assert [task[name] for task in telemetry["tasks"]] == [int(task[field]) for task in tasks]
        assert 0 < int(rtos["level_one_interrupt_count"]) < telemetry["interrupts"]
        # What XRT 2.25's shim has no query for, and this view shows.
        assert theirs["aie_partitions"]["total_memory_usage"] == "N/A"
        assert ours["memory_bytes"] == sum(process["bo_bytes"] for process in ours["processes"]) > 0
        assert {context["process_name"] for context in shown.values()} == {"N/A"}
        assert ours["contexts"][0]["process"] == "python3"


def test_preemptions_of_each_context_are_counted(xrt: Xrt) -> None:
    """``nested.asm`` has one PREEMPT; firmware numbers contexts from 1."""
    need_root(xrt)
    xrt.need_scratch_pad(3)
    for name in ("nested", "nested_setup", "nested_programs"):
        xrt.add(f"{name}.asm", (EXAMPLES / f"control_code/{name}.asm").read_text().replace("3column", "1column"))
    instance = {"id": "inst0", "ctrl_code_file": "nested.asm"}
    kernel = {"name": "DPU", "arguments": [{"name": "a", "type": "char *", "offset": "0x0"}], "instance": [instance]}
    xrt.add("nested.json", json.dumps({"xrt-kernels": [kernel]}))
    xrt.add("layers.py", f'{LAYERS}\nimport os\nos.system("xrt-smi examine -r preemption -f JSON -o after.json")')
    done = xrt.run(
        "sh",
        "-ec",
        "aiebu-asm -t aie4_config -j nested.json -o nested.elf -f disabledump\n"
        f"{ADVANCED} configure --force-preemption enable\n{ADVANCED} configure --force-preemption status\npython3 layers.py",
    )
    assert "Force-preemption is enabled" in done.stdout
    (device,) = json.loads(xrt.read("after.json"))["devices"]
    rows = [[int(row[name]) for name in ("fw_tid", "layer_events", "frame_events")] for row in device["telemetry"]]
    assert rows == [[0, 0, 0], [1, 0, 0], [2, 2, 0], [3, 4, 0], [4, 0, 0], [5, 0, 0]]


def test_a_context_that_works_is_active(xrt: Xrt) -> None:
    xrt.need_scratch_pad(1)
    assemble_kernels(xrt)
    script = """
import os, subprocess, pyxrt
device = pyxrt.device(0)
context = pyxrt.hw_context(device, pyxrt.elf("many.elf"))
def start(kernel):
    run = pyxrt.run(pyxrt.ext.kernel(context, kernel))
    run.set_arg(0, pyxrt.ext.bo(device, 4096))
    run.start()
    return run
def examine(name):
    subprocess.run(["xrt-smi", "examine", "-r", "aie-partitions", "-f", "JSON", "-o", name], check=True)
start("stuck:inst0").wait()
examine("idle.json")
running = start("long:inst0")
examine("active.json")
# Nobody waits for that.
os._exit(0)
"""
    xrt.run("python3", "-c", script, options=("--pace", "real"))
    states = []
    for name in ("idle.json", "active.json"):
        ((context,),) = [contexts(device).values() for device in json.loads(xrt.read(name))["devices"]]
        states.append((context["status"], context["command_submissions"], context["errors"]))
    assert states == [("Idle", "1", "1"), ("Active", "2", "1")]


def test_work_takes_power(xrt: Xrt) -> None:
    xrt.need_scratch_pad(3)
    xrt.add("gemm.elf", gemm())
    # Power is an average since the report before: on a busy machine, where tools start slowly, it takes more work to show.
    script = f"""
import json, subprocess, time, pyxrt
device = pyxrt.device(0)
context = pyxrt.hw_context(device, pyxrt.elf("gemm.elf"))
run = pyxrt.run(pyxrt.ext.kernel(context, "DPU"))
def watts():
    subprocess.run("xrt-smi --force examine -r platform -f JSON -o report.json > /dev/null", shell=True, check=True)
    (device,) = json.load(open("report.json"))["devices"]
    return float(device["platforms"][0]["electrical"]["power_consumption_watts"])
print(watts())
seconds, after = 0.3, 0
while not after and seconds < {PATIENCE}:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        run.start()
        run.wait()
    after = watts()
    seconds *= 2
print(after)
"""
    before, after = map(float, xrt.run("python3", "-c", script).stdout.split())
    assert before == 0 < after < 10


def test_clocks_follow_the_power_mode(xrt: Xrt) -> None:
    """The table of AMD's driver: MP-NPU and H clock of DPM levels 0, 2, 3 and 4. A mode holds while there are contexts."""
    xrt.need_scratch_pad(1)
    assemble_kernels(xrt)
    script = f"""
import subprocess, pyxrt
def run(line):
    return subprocess.run(line, shell=True, check=True, capture_output=True, text=True).stdout
device = pyxrt.device(0)
for mode in ("turbo", "powersaver", "balanced", "performance"):
    run(f"xrt-smi configure --pmode {{mode}}")
    context = pyxrt.hw_context(device, pyxrt.elf("many.elf"))
    print(run("{ADVANCED} examine -r clocks"))
    del context
"""
    text = xrt.run("python3", "-c", script).stdout
    clocks = [int(number) for number in re.findall(r"Clock +: (\d+) MHz", text)]
    assert clocks == [1200, 1200, 400, 400, 1108, 576, 1200, 847]


def test_firmware_s_log_and_trace(xrt: Xrt) -> None:
    """XRT takes names and arguments of events from the archive that it wants for ``validate``; a log it prints as it is."""
    need_root(xrt)
    xrt.need_scratch_pad(1)
    assemble_kernels(xrt)
    folder = xrt.folder / "amdxdna/bins"
    folder.mkdir(parents=True)
    (folder / ARCHIVE).write_bytes(build())
    xrt.add("runs.py", RUNS)
    done = xrt.run(
        "sh",
        "-ec",
        f"""
        {ADVANCED} configure --firmware-log --enable --log-level 4
        {ADVANCED} configure --event-trace --enable
        {ADVANCED} examine -r debug
        {ADVANCED} examine --firmware-log --status
        {ADVANCED} examine --event-trace --status
        python3 runs.py < /dev/null
        {ADVANCED} examine --firmware-log
        {ADVANCED} examine --event-trace
        {ADVANCED} configure --event-trace --disable
        {ADVANCED} configure --firmware-log --disable
        {ADVANCED} examine -r debug
        """,
    )
    text = done.stdout
    assert re.findall(r"Firmware Log +: (.*)", text) == ["enabled (log level 4)", "disabled"]
    assert re.findall(r"Event Trace +: (.*)", text) == ["enabled (categories 0xffffffff)", "disabled"]
    assert "Firmware log level: 4" in text
    assert "Event trace categories: ALL" in text
    assert re.search(r"^\[ +\d+\.\d+\] DEBUG 0000:05:00\.1: CREATE_HW_CONTEXT: ok$", text, re.MULTILINE)
    rows = re.findall(r"^(\d+) +(\w+) +(\w+) +(\S.*?) *$", text, re.MULTILINE)
    events = [(name, category, arguments) for _, name, category, arguments in rows]
    assert ("CONTEXT_CREATED", "CONTEXT", "columns=1, context=1, first_column=0") in events
    ends = [arguments for name, _, arguments in events if name == "COMMAND_ENDED"]
    assert [re.sub(r", simulated_ns=\d+$", "", line) for line in ends] == [
        "completion=4, context=1, sequence=0",
        "completion=4, context=1, sequence=1",
        # Error 3 (an exception) of micro-controller 0.
        f"completion={3 << 4 | 5}, context=1, sequence=2",
    ]
    assert not [line for line in events if "UNKNOWN" in line]
    times = [int(time) for time, *_ in rows]
    assert times == sorted(times)


def test_health_of_contexts(xrt: Xrt) -> None:
    """XRT 2.25 asks for all contexts, or for one by number and process, and has no room for what its micro-controllers do."""
    xrt.need_scratch_pad(1)
    assemble_kernels(xrt)
    xrt.add("runs.py", RUNS)
    text = xrt.run(
        "bash",
        "-c",
        f"""
        coproc python3 runs.py; pid=$COPROC_PID
        read line <&${{COPROC[0]}}
        {ADVANCED} examine --context-health
        {ADVANCED} examine --context-health --ctx-id 1 --pid $pid
        {ADVANCED} examine --context-health --ctx-id 9 --pid $pid
        echo pid $pid
        """,
    ).stdout
    (pid,) = re.findall(r"^pid (\d+)$", text, re.MULTILINE)
    assert text.count(f"NPU3 Context Health Information (PID: {pid})") == 2
    assert len(re.findall(r"\|1 +\|No uC data +\|", text)) == 2
    assert "GET_ARRAY IOCTL failed (err=-22)" in text
