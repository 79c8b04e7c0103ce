"""The driver brings functions up and down, over the bus of a local die."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from fauxdna.abi.uapi import DeviceType
from fauxdna.accel.machine import Machine
from fauxdna.bus import Region
from fauxdna.bus.local import LocalBus
from fauxdna.driver import Pf, Vf, probe
from fauxdna.errors import Busy, DeviceGone, FauxdnaError, FirmwareRefused, InvalidArgument, NotFound
from fauxdna.firmware import build_images
from fauxdna.log import Level
from fauxdna.serve import LocalDie

PF, VF = "0000:05:00.0", "0000:05:00.1"
IMAGES = build_images()


def loader(change: Callable[[str, bytes], bytes] = lambda name, data: data) -> Callable[[str], bytes]:
    def load(path: str) -> bytes:
        directory, _, name = path.rpartition("/")
        assert directory == "amdnpu/17f2_10"
        return change(name, IMAGES[name])

    return load


def test_pf_and_vf_come_up_and_tell_what_they_are(die: LocalDie) -> None:
    with probe(die.open(PF), PF, loader()) as pf:
        assert isinstance(pf, Pf)
        assert pf.attributes()["device_type"] == "2"
        assert pf.attributes()["vbnv"] == "RyzenAI-npu3-pf"
        assert (pf.num_vfs, pf.total_vfs) == (0, 64)
        assert pf.sriov_configure(2) == 2
        assert die.functions() == (PF, VF, "0000:05:00.2")
        with probe(die.open(VF), VF) as vf:
            assert isinstance(vf, Vf)
            assert vf.attributes() == {
                "device_type": "1",
                "vbnv": "RyzenAI-npu3-vf",
                "fw_version": "0.0.0.0",
                "vendor": "0x1022",
                "device": "0x17f3",
                "revision": "0x10",
                "class": "0x118000",
            }


def test_messages_in_the_order_of_linux(die: LocalDie) -> None:
    with Machine(die, loader()):
        pass
    said = [entry.text for entry in die.log.entries()]
    wanted = ["POWER_OFF", "POWER_ON", "VALIDATE", "VALIDATE_CERT", "START"]
    wanted += ["ATTACH_WORK_BUFFER", "CREATE_VFS", "AIE_TILE_INFO", "CREATE_PARTITION"]
    wanted += ["DESTROY_PARTITION", "DESTROY_VFS", "SUSPEND", "RELEASE_TMR", "POWER_OFF"]
    found = [text.split(":")[0] for text in said if text.split(":")[0] in set(wanted)]
    assert found == wanted


def test_a_stopped_device_can_be_probed_again(die: LocalDie) -> None:
    for _ in range(3):
        with Machine(die, loader()) as host:
            host.find(DeviceType.UMQ)


@pytest.mark.parametrize("name", ["npu.dev.sbin", "cert.dev.sbin"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data[:64] + bytes([data[64] ^ 1]) + data[65:],
        lambda data: data[:100],
        lambda data: bytes(len(data)),
    ],
    ids=["signature", "payload", "truncated", "zeros"],
)
def test_a_damaged_image_is_refused_and_the_log_says_why(die: LocalDie, name: str, damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(FirmwareRefused, match=name.split(".")[0]) as caught:
        probe(die.open(PF), PF, loader(lambda file, data: damage(data) if file == name else data))
    assert caught.value.errno == errno.EIO
    assert caught.value.response != 0
    assert [entry for entry in die.log.entries(Level.WARNING) if entry.source == "psp"]
    # The failed probe left the function as it was: another one succeeds.
    probe(die.open(PF), PF, loader()).close()


def test_swapped_images_are_refused(die: LocalDie) -> None:
    def swap(name: str, _: bytes) -> bytes:
        return IMAGES["cert.dev.sbin" if name.startswith("npu") else "npu.dev.sbin"]

    with pytest.raises(FirmwareRefused):
        probe(die.open(PF), PF, loader(swap))


def test_a_missing_image_is_enoent(die: LocalDie) -> None:
    with pytest.raises(NotFound, match=r"amdnpu/17f2_10/npu\.dev\.sbin") as caught:
        probe(die.open(PF), PF)
    assert caught.value.errno == errno.ENOENT
    die.open(PF).close()


@pytest.mark.parametrize(("offset", "value"), [(0, b"\x86\x80"), (2, b"\xf0\x17"), (8, b"\x11"), (0, b"\xff\xff")])
def test_other_functions_are_enodev(die: LocalDie, offset: int, value: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    bus = die.open(PF)
    read = bus.region_read

    def altered(region: Region, at: int, length: int) -> bytes:
        data = bytearray(read(region, at, length))
        if region is Region.CONFIG and at == 0:
            data[offset : offset + len(value)] = value
        return bytes(data)

    monkeypatch.setattr(bus, "region_read", altered)
    with pytest.raises(DeviceGone) as caught:
        probe(bus, PF, loader())
    assert caught.value.errno == errno.ENODEV


def test_sriov_limits(host: Machine) -> None:
    pf = host.find(DeviceType.PF)
    assert isinstance(pf, Pf)
    for count, number in ((65, errno.ERANGE), (-1, errno.EINVAL), (2, errno.EBUSY)):
        with pytest.raises(FauxdnaError) as caught:
            pf.sriov_configure(count)
        assert caught.value.errno == number
    assert pf.sriov_configure(1) == 1


def test_vfs_in_use_are_not_destroyed(host: Machine) -> None:
    with host.open(), pytest.raises(Busy) as caught:
        host.set_vfs(0)
    assert caught.value.errno == errno.EPERM
    host.set_vfs(0)
    with pytest.raises(NotFound):
        host.open()
    host.set_vfs(3)
    assert len(host.nodes) == 4
    with host.open(bdf="0000:05:00.3") as file:
        assert file.attributes()["device_type"] == "1"


def test_a_vf_that_vanished_is_enodev(die: LocalDie, host: Machine) -> None:
    pf = host.find(DeviceType.PF)
    file = host.open()
    bo = file.create_bo(4096)
    assert isinstance(pf, Pf)
    pf.sriov_configure(0)
    with pytest.raises(DeviceGone) as caught:
        file.create_hwctx(bo, 4)
    assert caught.value.errno == errno.ENODEV


def test_vfs_need_management_firmware_that_knows_them(die: LocalDie) -> None:
    with probe(die.open(PF), PF, loader()) as pf:
        assert isinstance(pf, Pf)
        with pytest.raises(InvalidArgument):
            pf.sriov_configure(1000)


def test_a_pf_node_manages_and_does_not_compute(host: Machine) -> None:
    with host.open(DeviceType.PF) as file:
        bo = file.create_bo(4096)
        calls: list[Callable[[], object]] = [
            lambda: file.create_hwctx(bo, 4),
            lambda: file.wait_cmd(1, 0, 1),
            lambda: file.get_info(1, 64),
            lambda: file.get_array(0, 144, 32),
            lambda: file.set_state(0, bytes(8)),
            lambda: file.mmap(4096, 0x10000),
        ]
        for call in calls:
            with pytest.raises(FauxdnaError) as caught:
                call()
            assert caught.value.errno == errno.EOPNOTSUPP


def test_closing_twice_is_closing_once(die: LocalDie) -> None:
    bus = die.open(PF)
    assert isinstance(bus, LocalBus)
    pf = probe(bus, PF, loader())
    pf.close()
    pf.close()
    with pytest.raises(DeviceGone):
        pf.management.call("SUSPEND")
