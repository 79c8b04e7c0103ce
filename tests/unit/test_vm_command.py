"""QEMU's command line, which guests are refused, and how a share is written."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from fauxdna.cli.vm import _mebibytes, _share, _words, _writable
from fauxdna.errors import InvalidArgument, NotFound
from fauxdna.vm import Accelerator, Iommu, Settings, Share
from fauxdna.vm.command import Layout, command_line, kernel_line

LAYOUT = Layout(
    kernel=Path("/k"),
    initrd=Path("/i"),
    memory=1024,
    accelerator=Accelerator.TCG,
    iommu=Iommu.INTEL,
    functions={(5, 0): Path("/run/pf.sock"), (5, 1): Path("/run/vf0.sock")},
    console=Path("/log"),
)


def devices(layout: Layout) -> list[dict[str, object]]:
    """The vfio-user devices, as QEMU reads them."""
    line = command_line(layout)
    values = [value for option, value in pairwise(line) if option == "-device" and value.startswith("{")]
    return [json.loads(value) for value in values]


def test_functions_share_a_slot_and_only_the_first_says_so() -> None:
    pf, vf = devices(LAYOUT)
    assert (pf["driver"], pf["addr"], pf["multifunction"]) == ("vfio-user-pci", "0x5.0", True)
    assert pf["socket"] == {"type": "unix", "path": "/run/pf.sock"}
    assert (vf["addr"], "multifunction" in vf) == ("0x5.1", False)


def test_vfs_without_their_pf_have_slots_of_their_own() -> None:
    alone = devices(replace(LAYOUT, functions={(5, 0): Path("/a"), (6, 0): Path("/b")}))
    assert [(device["addr"], "multifunction" in device) for device in alone] == [("0x5.0", False), ("0x6.0", False)]


def test_memory_is_shared_with_the_device() -> None:
    line = command_line(LAYOUT)
    assert "memory-backend-memfd,id=memory,size=1024M,share=on" in line
    assert "intel-iommu,caching-mode=on" in line


def test_a_carve_out_is_reserved_for_each_function() -> None:
    carved = replace(LAYOUT, iommu=Iommu.CARVEOUT)
    # Two functions of 32 MiB each.
    assert "memmap=64M$0x20000000" in kernel_line(carved)
    assert "intel_iommu=on" not in kernel_line(carved)
    assert not any("intel-iommu" in word for word in command_line(carved))


def test_a_share_keeps_its_commas_and_has_a_slot() -> None:
    line = command_line(replace(LAYOUT, shares=[Share(Path("/a,b"), "/mnt/x", read_only=True)], root=Path("/r")))
    assert "local,id=share0,path=/a,,b,security_model=none,multidevs=remap,readonly=on" in line
    assert "virtio-9p-pci,fsdev=share0,mount_tag=share0,addr=0x15" in line
    assert "virtio-9p-pci,fsdev=root,mount_tag=root,addr=0x16" in line


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (Settings(vfs=65), "65 VFs: a PF has up to 64; ask for 0 to 64"),
        (Settings(vfs=-1), "ask for 0 to 64"),
        (Settings(vfs=17, pf=False), "17 VFs: there are 16 slots for them; ask for 0 to 16"),
        (Settings(vfs=0, pf=False), "has no device"),
        (Settings(memory=128), "give at least 256"),
        (Settings(memory=512, iommu=Iommu.CARVEOUT), "give at least 1024"),
        (Settings(modules=Path("/m")), "without their kernel"),
        (Settings(cpus=0), "ask for 1 to 255"),
    ],
)
def test_guests_that_can_not_be(settings: Settings, problem: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        settings.check()
    assert problem in str(refused.value)


def test_a_share_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is no folder"):
        Settings(shares=[Share(tmp_path / "none", "/mnt/x")]).check()


def test_how_a_share_is_written(tmp_path: Path) -> None:
    name = tmp_path.name
    assert _share(str(tmp_path)) == Share(tmp_path, f"/mnt/{name}")
    assert _share(f"{tmp_path}:ro") == Share(tmp_path, f"/mnt/{name}", read_only=True)
    assert _share(f"{tmp_path}:/data") == Share(tmp_path, "/data")
    assert _share(f"{tmp_path}:/data:ro") == Share(tmp_path, "/data", read_only=True)


@pytest.mark.parametrize("text", ["", ":/x", "/tmp:x", "/tmp:/a:/b", "/tmp:/a/../dev"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is no share"):
        _share(text)


@pytest.mark.parametrize(("text", "mebibytes"), [("512M", 512), ("3G", 3072), ("4g", 4096), ("1024", 1024)])
def test_how_memory_is_written(text: str, mebibytes: int) -> None:
    assert _mebibytes(text) == mebibytes


@pytest.mark.parametrize("text", ["", "G", "1.5G", "-1", "8T", "9999999999"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is no size; write 512M, 4G"):
        _mebibytes(text)


def test_words_are_quoted_as_for_a_shell() -> None:
    assert _words("-append 'a b'", "--qemu-args") == ["-append", "a b"]
    with pytest.raises(InvalidArgument, match="--append 'x: No closing quotation"):
        _words("'x", "--append")


def test_a_report_that_could_not_be_written_is_refused_at_once(tmp_path: Path) -> None:
    _writable(tmp_path / "report.xml")
    with pytest.raises(InvalidArgument, match="can't be written"):
        _writable(tmp_path / "none" / "report.xml")


@pytest.mark.parametrize("place", ["/", "/dev", "/proc/x", "//sys"])
def test_a_share_hides_nothing_that_the_guest_lives_on(place: str) -> None:
    with pytest.raises(InvalidArgument, match="is the guest's own; share it as /tmp:/mnt/NAME"):
        _share(f"/tmp:{place}")
