"""PSP: commands by state, and images that it refuses, each with its code and a log line that says why."""

from __future__ import annotations

import struct
import threading

import pytest
from _host import (
    CERT_ADDRESS,
    NPU_ADDRESS,
    WORK_ADDRESS,
    HostMemory,
    Mailbox,
    enable,
    load,
    psp_exec,
    read32,
    smu,
    write32,
)
from _machine import Machine
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fauxdna.abi.firmware import FirmwareKind, NpuFeature
from fauxdna.bus import DmaAccess, Region
from fauxdna.bus.local import LocalBus
from fauxdna.device.psp import Psp, PspServices
from fauxdna.firmware import build, cert_manifest, development_key, npu_manifest

OK, CANCEL, BAD_STATE = 0, 0xFFFF0002, 0xFFFF0007
VALIDATE, START, RELEASE, CERT = 1, 2, 3, 4
NPU_SIZE, CERT_SIZE = 0x10000, 0x8000
KEY = development_key()


def powered(machine: Machine) -> LocalBus:
    bus = machine.pf()
    enable(bus)
    assert smu(bus, 3)[0] == 1
    return bus


def validate(bus: LocalBus, image: bytes, command: int = VALIDATE) -> int:
    address = NPU_ADDRESS if command == VALIDATE else CERT_ADDRESS
    alignment = NPU_SIZE if command == VALIDATE else CERT_SIZE
    memory = HostMemory(bus, address, alignment)
    try:
        return psp_exec(bus, command, address, load(memory, image, alignment))
    finally:
        bus.dma_unmap(address, alignment)


def start(bus: LocalBus, argument: int = 1) -> int:
    return psp_exec(bus, START, argument)


def test_commands_by_state(machine: Machine) -> None:
    bus = powered(machine)
    npu, cert = machine.images["npu.dev.sbin"], machine.images["cert.dev.sbin"]
    # Nothing loaded.
    assert validate(bus, cert, CERT) == BAD_STATE
    assert start(bus) == BAD_STATE
    assert psp_exec(bus, RELEASE) == BAD_STATE
    # npu image loaded.
    assert validate(bus, npu) == OK
    assert start(bus) == BAD_STATE
    assert validate(bus, npu) == OK
    # Both loaded.
    assert validate(bus, cert, CERT) == OK
    assert start(bus, 0) == CANCEL
    assert start(bus) == OK
    # Running.
    assert start(bus) == BAD_STATE
    assert validate(bus, npu) == BAD_STATE
    assert validate(bus, cert, CERT) == BAD_STATE
    assert read32(bus, Region.BAR2, 0) == 1
    assert psp_exec(bus, RELEASE) == OK
    # Nothing loaded again.
    assert read32(bus, Region.BAR2, 0) == 0
    assert start(bus) == BAD_STATE


def test_start_needs_power(machine: Machine) -> None:
    bus = powered(machine)
    assert validate(bus, machine.images["npu.dev.sbin"]) == OK
    assert validate(bus, machine.images["cert.dev.sbin"], CERT) == OK
    assert smu(bus, 4)[0] == 1
    assert start(bus) == BAD_STATE  # Power-off also threw the images away.
    assert validate(bus, machine.images["npu.dev.sbin"]) == OK
    assert validate(bus, machine.images["cert.dev.sbin"], CERT) == OK
    assert start(bus) == BAD_STATE
    assert "power is off" in machine.errors()


def test_power_off_stops_firmware(machine: Machine) -> None:
    bus, _ = machine.started_pf()
    assert smu(bus, 4)[0] == 1
    assert read32(bus, Region.BAR2, 0) == 0


@pytest.mark.parametrize("command", [0, 5, 0x7F, 0xFF])
def test_unknown_commands(machine: Machine, command: int) -> None:
    assert psp_exec(powered(machine), command) == CANCEL
    assert "no such command" in machine.errors()


def _tampered(image: bytes, position: int) -> bytes:
    changed = bytearray(image)
    changed[position] ^= 1
    return bytes(changed)


OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
GOOD = build(FirmwareKind.NPU, npu_manifest(), KEY, protocol=(5, 10), name="good")
REFUSED_NPU = {
    "unsigned": (GOOD[:-64] + bytes(64), "signature does not match"),
    "header changed": (_tampered(GOOD, 32), "signature does not match"),
    "payload changed": (_tampered(GOOD, 70), "signature does not match"),
    "signature changed": (_tampered(GOOD, len(GOOD) - 1), "signature does not match"),
    "longer than memory": (_tampered(GOOD, 22), "cut short"),
    "not an image": (b"MZ" + bytes(200), "not a firmware image"),
    "other signer": (build(FirmwareKind.NPU, npu_manifest(), OTHER_KEY, protocol=(5, 10), name="x"), "the device trusts"),
    "cert image": (build(FirmwareKind.CERT, cert_manifest(), KEY, protocol=(5, 10), name="x"), "where npu"),
    "other device": (
        build(FirmwareKind.NPU, npu_manifest(), KEY, protocol=(5, 10), name="x", device_id=0x17F0),
        "for device 17f0",
    ),
    "other revision": (
        build(FirmwareKind.NPU, npu_manifest(), KEY, protocol=(5, 10), name="x", revision_id=0x11),
        "revision 0x11",
    ),
}


@pytest.mark.parametrize("case", REFUSED_NPU)
def test_refused_images(machine: Machine, case: str) -> None:
    image, reason = REFUSED_NPU[case]
    bus = powered(machine)
    assert validate(bus, image) == CANCEL
    assert reason in machine.errors()
    assert validate(bus, machine.images["cert.dev.sbin"], CERT) == BAD_STATE, "a refused image counted as loaded"


def test_a_refused_image_replaces_a_good_one(machine: Machine) -> None:
    bus = powered(machine)
    assert validate(bus, machine.images["npu.dev.sbin"]) == OK
    assert validate(bus, machine.images["cert.dev.sbin"], CERT) == OK
    assert validate(bus, REFUSED_NPU["payload changed"][0]) == CANCEL
    assert start(bus) == BAD_STATE


@pytest.mark.parametrize("length", [1, 64, 128, len(GOOD) - 1])
def test_truncated_images(machine: Machine, length: int) -> None:
    """The size that the driver gives ends inside the image."""
    bus = powered(machine)
    memory = HostMemory(bus, NPU_ADDRESS, NPU_SIZE)
    load(memory, GOOD, NPU_SIZE)
    assert psp_exec(bus, VALIDATE, NPU_ADDRESS, length) == CANCEL
    assert "cut short" in machine.errors()


def test_images_that_cannot_be_read(machine: Machine) -> None:
    bus = powered(machine)
    assert psp_exec(bus, VALIDATE, NPU_ADDRESS, NPU_SIZE) == CANCEL
    assert psp_exec(bus, VALIDATE, 0xFFFF_FFFF_FFFF_F000, NPU_SIZE) == CANCEL
    assert psp_exec(bus, VALIDATE, NPU_ADDRESS, 0) == CANCEL
    memory = HostMemory(bus, NPU_ADDRESS, 4096)
    load(memory, GOOD, 4096)
    assert psp_exec(bus, VALIDATE, NPU_ADDRESS, NPU_SIZE) == CANCEL
    HostMemory(bus, CERT_ADDRESS, 4096, DmaAccess.WRITE)
    assert psp_exec(bus, VALIDATE, CERT_ADDRESS, 4096) == CANCEL
    assert machine.errors().count("refused") == 5


def test_an_image_is_read_once(machine: Machine) -> None:
    """What is checked is what runs: the PSP asks for the host's memory one time, all of it."""
    reads: list[tuple[int, int]] = []

    def read_memory(address: int, length: int) -> bytes:
        reads.append((address, length))
        return GOOD + bytes(length - len(GOOD))

    services = PspServices(read_memory, lambda npu, cert: None, lambda: None, lambda: True)
    block = Psp(services, KEY.public_key(), machine.die.log.logger("test", "psp"))
    for offset, value in ((0xB70, 0x5000), (0xB74, 1), (0xAEC, 1 << 24 | 0x10000), (0xA24, 0), (0xA24, 0xD007BE11)):
        block.write(offset, value)
    assert block.read(0xB70) == OK
    assert reads == [(0x1_0000_5000, 0x10000)]


def test_an_image_that_changes_while_it_is_checked(machine: Machine) -> None:
    """A thread rewrites the VF limit in the payload all the time: either the image is refused, or the signed limit holds."""
    bus = powered(machine)
    memory = HostMemory(bus, NPU_ADDRESS, NPU_SIZE)
    load(memory, GOOD, NPU_SIZE)
    stop = threading.Event()

    def rewrite() -> None:
        while not stop.is_set():
            for limit in (1, 64):
                struct.pack_into("<H", memory.view, 64 + 4, limit)

    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        outcomes = []
        for _ in range(60):
            outcomes.append(psp_exec(bus, VALIDATE, NPU_ADDRESS, NPU_SIZE))
            if outcomes[-1] != OK:
                continue
            assert validate(bus, machine.images["cert.dev.sbin"], CERT) == OK
            assert start(bus) == OK
            work = HostMemory(bus, WORK_ADDRESS, 4 << 20)
            channel = Mailbox(bus)
            assert channel.call("ATTACH_WORK_BUFFER", buffer_address=work.address, buffer_size=work.size).status == 0
            assert channel.call("CREATE_VFS", vf_count=64).status == 0
            assert psp_exec(bus, RELEASE) == OK
            bus.dma_unmap(work.address, work.size)
    finally:
        stop.set()
        thread.join()
    assert set(outcomes) <= {OK, CANCEL}


def test_dma_needs_bus_mastering(machine: Machine) -> None:
    bus = powered(machine)
    bus.region_write(Region.CONFIG, 4, b"\x02\x00")
    assert validate(bus, machine.images["npu.dev.sbin"]) == CANCEL
    assert "bus mastering is off" in machine.errors()


def test_images_must_go_together(machine: Machine) -> None:
    """START refuses what PSP's signatures cannot know: releases, protocols and manifests that this device does not run."""
    cert_510 = machine.images["cert.dev.sbin"]
    cases = [
        (build(FirmwareKind.NPU, npu_manifest(), KEY, protocol=(6, 0), name="x"), cert_510, "different releases"),
        (
            build(FirmwareKind.NPU, npu_manifest(), KEY, protocol=(6, 0), name="x"),
            build(FirmwareKind.CERT, cert_manifest(), KEY, protocol=(6, 0), name="x"),
            "this device runs 5.10",
        ),
        (build(FirmwareKind.NPU, b"", KEY, protocol=(5, 10), name="x"), cert_510, "manifest has 0 bytes"),
        (
            machine.images["npu.dev.sbin"],
            build(FirmwareKind.CERT, cert_manifest(opcode_table=(9, 0)), KEY, protocol=(5, 10), name="x"),
            "opcode table 9.0",
        ),
    ]
    bus = powered(machine)
    for npu, cert, reason in cases:
        assert validate(bus, npu) == OK
        assert validate(bus, cert, CERT) == OK
        assert start(bus) == CANCEL
        assert reason in machine.errors()
        assert read32(bus, Region.BAR2, 0) == 0
        assert psp_exec(bus, RELEASE) == OK


def test_manifest_configures_firmware(machine: Machine) -> None:
    """Loading an image matters: its limits are those that firmware then has."""
    machine.images["npu.dev.sbin"] = build(FirmwareKind.NPU, npu_manifest(vf_limit=2), KEY, protocol=(5, 10), name="two VFs")
    _, channel = machine.started_pf()
    assert channel.call("CREATE_VFS", vf_count=3).status == 1
    assert channel.call("CREATE_VFS", vf_count=2).status == 0


def test_firmware_without_sriov(machine: Machine) -> None:
    manifest = npu_manifest(features=NpuFeature(0))
    machine.images["npu.dev.sbin"] = build(FirmwareKind.NPU, manifest, KEY, protocol=(5, 10), name="no SR-IOV")
    _, channel = machine.started_pf()
    assert channel.call("CREATE_VFS", vf_count=1).status == 2


def test_nothing_starts_without_the_notification(machine: Machine) -> None:
    bus = powered(machine)
    write32(bus, Region.BAR4, 0xAEC, 1 << 24 | 64)
    for value in (0, 1, 0xD007BE10):
        write32(bus, Region.BAR4, 0xA24, value)
    assert read32(bus, Region.BAR4, 0xAEC) == 1 << 24 | 64
    assert machine.errors() == ""
