"""The stock driver of Linux 7.2 in a guest: it binds, computes, unloads, and complains of nothing."""

from __future__ import annotations

import re

import pytest

from fauxdna.demo.small import SmallModel
from fauxdna.vm import Machine

PF, VF1, VF2 = "0000:00:05.0", "0000:00:05.1", "0000:00:05.2"
COMPLAINTS = re.compile(r"WARNING|BUG:|Oops|Call Trace|amdxdna .*(?:\*ERROR\*|failed|timeout)")


def complaints(machine: Machine) -> list[str]:
    """Lines of the kernel's log that no driver should cause."""
    return [line for line in machine.dmesg().splitlines() if COMPLAINTS.search(line)]


def ran(machine: Machine, script: str) -> str:
    """What a script printed; it must end well."""
    done = machine.run(script, timeout=120)
    assert done.status == 0, done.stderr
    return done.stdout


def test_the_driver_binds_to_the_pf_and_its_vfs(machine: Machine) -> None:
    log = machine.dmesg()
    for number, function in enumerate((PF, VF1, VF2)):
        assert f"Initialized amdxdna_accel_driver 0.10.0 for {function} on minor {number}" in log
    kinds = ran(
        machine, "for f in /sys/class/accel/accel*/device; do echo $(basename $(readlink $f)) $(cat $f/device_type); done"
    )
    # Linux 7.2 amdxdna_accel.h: AMDXDNA_DEV_TYPE_PF 2, AMDXDNA_DEV_TYPE_UMQ 1.
    assert kinds.splitlines() == [f"{PF} 2", f"{VF1} 1", f"{VF2} 1"]
    assert complaints(machine) == []


def test_the_probe_gets_the_bytes_of_outside_on_every_vf(machine: Machine) -> None:
    report = ran(machine, "fauxdna-probe")
    assert report.count("the same as outside") == 2
    assert report.count("WAIT_CMD returned 0") == 2
    assert "a context: Operation not supported, as on a PF" in report
    assert complaints(machine) == []


@pytest.mark.parametrize("layout", ["", "--padded"])
def test_a_program_gives_the_same_bytes_with_either_queue_header(machine: Machine, small: SmallModel, layout: str) -> None:
    model = "/usr/share/fauxdna/model"
    ran(machine, f"fauxdna-probe {layout} run -o 1=/tmp/out {model}/model.elf {model}/input zeros:{len(small.output)} zeros:8192")
    assert ran(machine, f"cmp /tmp/out {model}/output && echo same") == "same\n"


def test_contexts_come_and_go_and_leave_no_mapping(machine: Machine) -> None:
    ran(machine, "fauxdna-probe contexts 5")
    before = machine.devices.server.dma_maps
    assert before > 0
    ran(machine, "fauxdna-probe contexts 50")
    assert machine.devices.server.dma_maps == before


def test_vfs_are_destroyed_and_created_again(machine: Machine) -> None:
    numvfs = f"/sys/bus/pci/devices/{PF}/sriov_numvfs"
    for _ in range(3):
        ran(machine, f"echo 0 > {numvfs}; ! [ -e /sys/bus/pci/devices/{VF1} ]")
        ran(machine, f"echo 2 > {numvfs}; [ -e /sys/bus/pci/devices/{VF2}/accel ]")
    assert ran(machine, "fauxdna-probe").count("the same as outside") == 2
    assert complaints(machine) == []


def test_the_module_unloads_and_loads_again(machine: Machine) -> None:
    for _ in range(2):
        ran(machine, f"echo 0 > /sys/bus/pci/devices/{PF}/sriov_numvfs; modprobe -r amdxdna; ! grep amdxdna /proc/modules")
        ran(machine, f"modprobe amdxdna; echo 2 > /sys/bus/pci/devices/{PF}/sriov_numvfs")
    assert ran(machine, "fauxdna-probe").count("the same as outside") == 2
    assert complaints(machine) == []


def test_a_command_never_submitted_is_waited_for_in_vain(machine: Machine) -> None:
    # No room is left in Linux 7.2's aie4_cmd_wait for another answer than ETIME.
    for sequence in ("0", "1000"):
        done = machine.run(["fauxdna-probe", "wait", sequence, "50"])
        assert (done.status, done.stdout.split()[0]) == (0, "ETIME")


def test_calls_are_refused_with_the_errno_of_the_documentation(machine: Machine) -> None:
    # Two calls on the PF's node, 19 on each VF's; the probe fails where one has another errno than docs/errors.md.
    assert len([line for line in ran(machine, "fauxdna-probe refusals").splitlines() if ": E" in line]) == 2 + 2 * 19
    # The driver names each refusal in the log; none is a warning of the kernel's.
    assert not [line for line in machine.dmesg().splitlines() if re.search(r"WARNING|BUG:|Oops|Call Trace", line)]


def test_an_output_file_has_the_bytes_that_were_asked_for(machine: Machine, small: SmallModel) -> None:
    model, size = "/usr/share/fauxdna/model", len(small.output) + 100
    ran(machine, f"fauxdna-probe run -o 1=/tmp/out {model}/model.elf {model}/input zeros:{size} zeros:8192")
    assert ran(machine, "stat -c %s /tmp/out") == f"{size}\n"
