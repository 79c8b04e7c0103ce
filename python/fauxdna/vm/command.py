"""QEMU's command line for a guest with one die."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

SLOT: Final = 5
"""The PF is 00:05.0 and its VFs follow it, into the next slots too; VFs without their PF have a slot each, from this one on."""
PF_ROUTING_ID: Final = SLOT << 3
SLOTS: Final = 16
"""For VFs without their PF."""
SHARE_SLOT: Final = SLOT + SLOTS
SHARES: Final = 10
"""Slots up to 1e; the chipset has 1f."""
ECAM: Final = 0xB000_0000
"""Where QEMU's q35 and its BIOS put configuration space; ECAM + bus << 20 | device << 15 | function << 12."""
CARVEOUT_ADDRESS: Final = 0x2000_0000
CARVEOUT_SIZE: Final = 32 << 20
"""For each function."""
SHARE_SECURITY: Final = "none"
"""9p's security model: files that the guest makes belong to who runs QEMU."""
QUICK: Final = (
    "mitigations=off",
    "nokaslr",
    "no_timer_check",
    "tsc=reliable",
    "8250.nr_uarts=1",
    "cryptomgr.notests",
    "random.trust_cpu=on",
)
"""What saves seconds under TCG and takes nothing from a test of this driver."""


class Iommu(StrEnum):
    """How the guest's driver gets device addresses: it refuses to open without one of these."""

    INTEL = "intel"
    """QEMU's intel-iommu with ``force_iova=1``; buffers may be scattered."""
    CARVEOUT = "carveout"
    """Reserved memory, given to each node in debugfs; SYNC_BO is EOPNOTSUPP then."""


class Accelerator(StrEnum):
    """What runs the guest's instructions."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True)
class Share:
    """A folder of the host in the guest, by 9p."""

    folder: Path
    place: str
    read_only: bool = False


@dataclass(frozen=True)
class Layout:
    """What QEMU is asked for. ``ports`` are file descriptors by the name of their virtio-serial port."""

    kernel: Path
    initrd: Path
    memory: int
    """MiB."""
    accelerator: Accelerator
    iommu: Iommu
    functions: Mapping[tuple[int, int], Path]
    """vfio-user sockets by slot and function number."""
    cpus: int = 1
    shares: Sequence[Share] = ()
    root: Path | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    sockets: Mapping[str, Path] = field(default_factory=dict)
    """Sockets on which QEMU listens, by the name of their virtio-serial port."""
    qtest: int | None = None
    console: Path | None = None
    """Where the serial console goes; None: to the terminal, with Ctrl-A x to leave."""
    append: Sequence[str] = ()
    reboots: bool = False
    """A guest's reboot, and a panic, start it again; QEMU ends otherwise."""
    arguments: Sequence[str] = ()
    """The user's own."""


def share_tag(index: int) -> str:
    """The 9p tag of the share with an index."""
    return f"share{index}"


ROOT_TAG: Final = "root"


def kernel_line(layout: Layout) -> list[str]:
    """The kernel's command line."""
    line = ["console=ttyS0", "panic=-1", *QUICK]
    if layout.iommu is Iommu.INTEL:
        line.append("intel_iommu=on")
    else:
        line.append(f"memmap={len(layout.functions) * CARVEOUT_SIZE >> 20}M${CARVEOUT_ADDRESS:#x}")
    return [*line, *layout.append]


def command_line(layout: Layout) -> list[str]:
    """QEMU's arguments."""
    size = f"{layout.memory}M"
    tcg = layout.accelerator is Accelerator.TCG
    arguments = [
        *("-accel", "tcg" if tcg else "kvm"),
        *("-cpu", "max" if tcg else "host"),
        *("-smp", str(layout.cpus), "-m", size),
        *("-machine", "q35,memory-backend=memory,hpet=off" + ("" if tcg else ",kernel-irqchip=split")),
        # Shared, because the device reaches the guest's memory through this file.
        *("-object", f"memory-backend-memfd,id=memory,size={size},share=on"),
        *("-nodefaults", "-no-user-config", "-display", "none", *([] if layout.reboots else ["-no-reboot"])),
        *("-kernel", str(layout.kernel), "-initrd", str(layout.initrd), "-append", " ".join(kernel_line(layout))),
        *("-serial", "mon:stdio" if layout.console is None else f"file:{_escaped(layout.console)}"),
    ]
    if layout.iommu is Iommu.INTEL:
        # QEMU aborts on a vfio device behind an intel-iommu that does not cache.
        arguments += ["-device", "intel-iommu,caching-mode=on"]
    if layout.ports or layout.sockets:
        arguments += ["-device", "virtio-serial-pci,addr=0x3"]
    ends = {name: f"fd={descriptor}" for name, descriptor in layout.ports.items()}
    ends |= {name: f"path={_escaped(path)},server=on,wait=off" for name, path in layout.sockets.items()}
    for name, end in ends.items():
        arguments += ["-chardev", f"socket,id={name},{end}"]
        arguments += ["-device", f"virtserialport,chardev={name},name=fauxdna.{name}"]
    if layout.qtest is not None:
        arguments += ["-chardev", f"socket,id=qtest,fd={layout.qtest}", "-qtest", "chardev:qtest", "-qtest-log", "none"]
    shared = [(share.folder, share_tag(index), share.read_only) for index, share in enumerate(layout.shares)]
    if layout.root is not None:
        shared.append((layout.root, ROOT_TAG, True))
    for slot, (folder, tag, read_only) in enumerate(shared, SHARE_SLOT):
        arguments += _share(slot, folder, tag, read_only)
    for place, socket in sorted(layout.functions.items()):
        arguments += ["-device", json.dumps(_function(*place, socket, (place[0], 1) in layout.functions))]
    return [*arguments, *layout.arguments]


def _share(slot: int, folder: Path, tag: str, read_only: bool) -> list[str]:
    options = f"local,id={tag},path={_escaped(folder)},security_model={SHARE_SECURITY},multidevs=remap"
    device = f"virtio-9p-pci,fsdev={tag},mount_tag={tag},addr={slot:#x}"
    return ["-fsdev", options + (",readonly=on" if read_only else ""), "-device", device]


def _escaped(path: Path) -> str:
    """For an option of QEMU, where a comma ends a value."""
    return str(path).replace(",", ",,")


def _function(slot: int, number: int, socket: Path, several: bool) -> dict[str, object]:
    device: dict[str, object] = {
        "driver": "vfio-user-pci",
        "socket": {"type": "unix", "path": str(socket)},
        "bus": "pcie.0",
        "addr": f"{slot:#x}.{number:x}",
    }
    if number == 0 and several:
        device["multifunction"] = True
    return device
