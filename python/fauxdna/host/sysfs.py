"""What a program sees of the NPU's functions in /sys: what XRT, lspci and our own runtime read.

Attributes are those of Linux 7.2's amdxdna and PCI core; they are written once, when the program starts.
"""

from __future__ import annotations

import os
import struct

from fauxdna import __version__
from fauxdna.abi.identity import (
    CLASS_SIGNAL_PROCESSING,
    DEVICE_PF,
    DEVICE_TYPE_PF,
    DEVICE_TYPE_UMQ,
    DEVICE_VF,
    NPU_VERSION,
    REVISION,
    TOTAL_VFS,
    VBNV_PF,
    VBNV_VF,
    VENDOR_AMD,
)
from fauxdna.abi.linux import ACCEL_MAJOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DRIVER = "amdxdna"
DRIVER_VERSION = "0.10.0"
"""Of Linux 7.2's driver, as in DRM_IOCTL_VERSION."""
LINUX_7_2 = "7.2"
OPENED = {
    "bus": {"pci": {"devices": {}, "drivers": {DRIVER: None}}},
    "class": {"accel": None},
    "devices": {},
    "module": {DRIVER: None},
    "dev": {"char": {}},
}
"""Directories of /sys that get entries of ours beside the machine's; those with None show ours alone."""
_RESOURCES = 13
"""Lines of ``resource`` for a function with SR-IOV: 6 BARs, the ROM, 6 BARs of its VFs (``drivers/pci/pci-sysfs.c``)."""


def predicted(is_pf: bool, vfs: int, level: str) -> dict[str, str]:
    """Attributes of a function of a die that is only starting: what its driver will say. ``vfs`` counts those of its PF."""
    attributes = {
        "device_type": str(DEVICE_TYPE_PF if is_pf else DEVICE_TYPE_UMQ),
        "vbnv": VBNV_PF if is_pf else VBNV_VF,
        # Linux 7.2 does not ask firmware.
        "fw_version": "0.0.0.0" if level == LINUX_7_2 else ".".join(map(str, NPU_VERSION)),
        "vendor": f"{VENDOR_AMD:#06x}",
        "device": f"{DEVICE_PF if is_pf else DEVICE_VF:#06x}",
        "revision": f"{REVISION:#04x}",
        "class": f"{CLASS_SIGNAL_PROCESSING:#08x}",
    }
    if is_pf:
        attributes |= {"sriov_totalvfs": str(TOTAL_VFS), "sriov_numvfs": str(vfs)}
    return attributes


def free_bus(taken: int = 0) -> str:
    """Name of a PF on a PCI bus that this machine has not, after ``taken`` others of ours; from 0000:05:00.0 on."""
    try:
        known = {name[:7] for name in os.listdir("/sys/bus/pci/devices")}
    except OSError:
        known = set()
    buses = [f"0000:{number:02x}" for number in range(5, 256)]
    free = [bus for bus in buses if bus not in known and not os.path.exists(f"/sys/devices/pci{bus}")]
    return f"{free[taken]}:00.0"


class Tree:
    """Files and links to be made in /sys."""

    def __init__(self, level: str) -> None:
        self.files: dict[str, bytes] = {}
        """Contents by path."""
        if level != LINUX_7_2:
            # XRT shows the first word as the driver's version, and the kernel's release where there is none, as with Linux 7.2.
            self.files[f"/sys/module/{DRIVER}/version"] = f"{DRIVER_VERSION},fauxdna-{__version__}\n".encode()
        self.links: dict[str, str] = {}
        """Targets by path, both absolute; written as relative links, as the kernel's are."""
        self._nodes = 0

    def add(self, bdf: str, attributes: Mapping[str, str]) -> None:
        """One more function; its node is the next ``/dev/accel/accelN``."""
        device = f"/sys/devices/pci{bdf[:7]}/{bdf}"
        node = f"accel{self._nodes}"
        number = f"{ACCEL_MAJOR}:{self._nodes}"
        self._nodes += 1
        ids = {name: int(attributes[name], 16) for name in ("vendor", "device", "revision", "class")}
        for name, value in (_constants(ids, bdf) | dict(attributes)).items():
            self.files[f"{device}/{name}"] = f"{value}\n".encode()
        self.files[f"{device}/config"] = _config(ids)
        self.files[f"{device}/accel/{node}/dev"] = f"{number}\n".encode()
        self.files[f"{device}/accel/{node}/uevent"] = (
            f"MAJOR={ACCEL_MAJOR}\nMINOR={number.partition(':')[2]}\nDEVNAME=accel/{node}\nDEVTYPE=accel_minor\n".encode()
        )
        self.links |= {
            f"{device}/driver": f"/sys/bus/pci/drivers/{DRIVER}",
            f"{device}/subsystem": "/sys/bus/pci",
            f"{device}/accel/{node}/device": device,
            f"{device}/accel/{node}/subsystem": "/sys/class/accel",
            f"/sys/bus/pci/devices/{bdf}": device,
            f"/sys/bus/pci/drivers/{DRIVER}/{bdf}": device,
            f"/sys/class/accel/{node}": f"{device}/accel/{node}",
            f"/sys/dev/char/{number}": f"{device}/accel/{node}",
        }

    def write(self) -> None:
        """Makes them all."""
        for path, content in self.files.items():
            os.makedirs(os.path.dirname(path), exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o444)
            try:
                os.write(fd, content)
            finally:
                os.close(fd)
        for path, target in self.links.items():
            if not os.path.lexists(path):
                os.symlink(os.path.relpath(target, os.path.dirname(path)), path)


def _constants(ids: Mapping[str, int], bdf: str) -> dict[str, str]:
    """What the PCI core says of every function."""
    vendor, device, kind = ids["vendor"], ids["device"], ids["class"]
    modalias = (
        f"pci:v{vendor:08X}d{device:08X}sv{vendor:08X}sd{device:08X}bc{kind >> 16:02X}sc{kind >> 8 & 0xFF:02X}i{kind & 0xFF:02X}"
    )
    return {
        "subsystem_vendor": f"{vendor:#06x}",
        "subsystem_device": f"{device:#06x}",
        "irq": "0",
        "enable": "1",
        "numa_node": "-1",
        "power_state": "D0",
        "resource": "\n".join(["0x0000000000000000 0x0000000000000000 0x0000000000000000"] * _RESOURCES),
        "modalias": modalias,
        "uevent": f"DRIVER={DRIVER}\nPCI_CLASS={kind:X}\nPCI_ID={vendor:04X}:{device:04X}\n"
        f"PCI_SUBSYS_ID={vendor:04X}:{device:04X}\nPCI_SLOT_NAME={bdf}\nMODALIAS={modalias}",
    }


def _config(ids: Mapping[str, int]) -> bytes:
    """The standard header, as far as identity goes: what an unprivileged reader of ``config`` gets."""
    kind = ids["class"]
    head = struct.pack(
        "<HHHHBBBB", ids["vendor"], ids["device"], 0x0406, 0, ids["revision"], kind & 0xFF, kind >> 8 & 0xFF, kind >> 16
    )
    return head.ljust(0x2C, b"\0") + struct.pack("<HH", ids["vendor"], ids["device"]).ljust(64 - 0x2C, b"\0")
