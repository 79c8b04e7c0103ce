"""What a sandboxed program sees in /dev and /sys."""

from __future__ import annotations

import json
import os
from pathlib import Path

from _sandboxed import Runner

from fauxdna.abi.uapi_next import Level
from fauxdna.accel.local import attributes
from fauxdna.host import sysfs
from fauxdna.host.dies import bring_up

WALK = """
import json, os, sys
seen = {}
for top in sys.argv[1:]:
    for name in os.listdir(top):
        path = f"{top}/{name}"
        info = os.lstat(path)
        seen[path] = [info.st_mode >> 12, info.st_rdev, os.readlink(path) if os.path.islink(path) else ""]
print(json.dumps(seen))
"""
FUNCTIONS = """
import json, os
root = "/sys/bus/pci/drivers/amdxdna"
found = {}
for bdf in sorted(os.listdir(root)):
    real = os.path.realpath(f"{root}/{bdf}")
    texts, nodes = {}, os.listdir(f"{real}/accel")
    for name in os.listdir(real):
        if os.path.isfile(f"{real}/{name}") and name != "config":
            texts[name] = open(f"{real}/{name}").read()
    found[bdf] = {"real": real, "texts": texts, "nodes": nodes, "driver": os.path.realpath(real + "/driver")}
print(json.dumps(found))
"""


def test_the_rest_of_dev_and_sys_is_the_machines(runner: Runner) -> None:
    command = ["python3", "-c", WALK, "/dev", "/sys", "/sys/bus", "/sys/bus/pci", "/sys/class", "/sys/devices", "/sys/dev/char"]
    inside, outside = json.loads(runner.run("--", *command).stdout), json.loads(runner.native(*command).stdout)
    added = {"/dev/accel", "/sys/class/accel", "/sys/dev/char/261:0", "/sys/devices/pci0000:05"}
    # A directory that was opened up has other mode bits at most; kinds, numbers and links are the same.
    assert {path: inside.get(path) for path in outside if path not in added} == {
        path: facts for path, facts in outside.items() if path not in added
    }
    assert set(inside) - set(outside) <= added


def test_functions_are_found_as_xrt_looks_for_them(runner: Runner) -> None:
    """``xrt_core::pci::drv::scan_devices``, and the plug-in's ``get_dev_node`` and ``create_pcidev``."""
    done = runner.run("--functions", "pf,vf=2", "--", "python3", "-c", FUNCTIONS)
    found = json.loads(done.stdout)
    assert [facts["texts"]["device_type"] for facts in found.values()] == ["2\n", "1\n", "1\n"]
    assert [facts["nodes"] for facts in found.values()] == [["accel0"], ["accel1"], ["accel2"]]
    for facts in found.values():
        assert facts["real"].startswith("/sys/devices/pci")
        assert facts["driver"] == "/sys/bus/pci/drivers/amdxdna"
    names = list(found)
    assert [name[-4:] for name in names] == ["00.0", "00.1", "00.2"]


def test_attributes_are_the_drivers() -> None:
    """The launcher writes them before the die is up: it has to know what the driver will say."""
    with bring_up("0000:05:00.0", vfs=3) as machine:
        for name, function in machine.nodes.items():
            for level in Level:
                assert sysfs.predicted(name.endswith(".0"), 3, level) == attributes(function, level)


def test_versions_are_those_of_driver_and_firmware(runner: Runner) -> None:
    """At level 7.2 the module has no version, and sysfs shows no firmware's: Linux 7.2 declares none and asks for none."""
    script = "cat /sys/bus/pci/devices/*/fw_version /sys/module/amdxdna/version; ls -d /sys/module/[a-z]*"
    done = runner.run("--", "sh", "-c", script)
    firmware, driver, *modules = done.stdout.splitlines()
    # The default images' manifest, and what DRM_IOCTL_VERSION says.
    assert (firmware, driver.split(",")[0]) == ("1.1.0.1", "0.10.0")
    assert {f"/sys/module/{name}" for name in os.listdir("/sys/module") if name[0].islower()} <= set(modules)
    assert runner.run("--uapi", "7.2", "--", "sh", "-c", script).stdout.splitlines()[0] == "0.0.0.0"


def test_several_npus_have_buses_of_their_own(runner: Runner) -> None:
    done = runner.run("--npus", "2", "--", "sh", "-c", "ls /dev/accel; ls /sys/bus/pci/drivers/amdxdna")
    assert done.stdout.split()[:2] == ["accel0", "accel1"]
    buses = {name[:7] for name in done.stdout.split()[2:]}
    assert len(buses) == 2


def test_nothing_can_be_written_but_the_nodes(runner: Runner) -> None:
    done = runner.run("--", "sh", "-c", "touch /dev/x /sys/x; : >>/dev/accel/accel0 && echo node")
    assert done.stdout == "node\n"
    assert done.stderr.count("Read-only file system") == 2


def test_nothing_is_left(runner: Runner) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    names = sorted(os.listdir("/dev"))
    runner.run("--", "true")
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert sorted(os.listdir("/dev")) == names
