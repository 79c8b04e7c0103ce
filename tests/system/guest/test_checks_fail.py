"""The built-in checks can fail: each does, with a sentence, where the device is broken, or where a fault goes unnoticed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from _patience import PATIENCE_MS

from fauxdna.device.firmware import contexts
from fauxdna.serve import Fault
from fauxdna.serve.slot import Slot
from fauxdna.vm import Machine, Settings
from fauxdna.vm.checks import bench as benches
from fauxdna.vm.checks import driver, failing, held
from fauxdna.vm.checks import reboots as boots
from fauxdna.vm.checks.bench import VFS, Bench, CheckFailed
from fauxdna.vm.checks.suite import Check

Equipment = dict[str, dict[str, bytes]]
ONCE = 100
"""Of a hundred repetitions."""
TILE_INFO, CREATE_VFS = 0x30006, 0x20001


class Unharmed(Bench):
    """A guest whose device fails never, as if its driver took no notice of faults."""

    def inject(self, *faults: str) -> None:
        """Does nothing."""

    def unplug(self, function: str) -> None:
        """Does nothing."""

    def reset(self, function: str) -> None:
        """Does nothing."""


class Unloaded(Bench):
    """A guest on which no packets run."""

    def hold(self) -> None:
        """Does nothing."""

    def held(self, after: str) -> None:
        """Does nothing."""


class Spoiled(Bench):
    """A guest whose VFs are broken when they come again."""

    def set_vfs(self, count: int) -> None:
        """Breaks them."""
        super().set_vfs(count)
        self.inject("context-error")


@pytest.fixture(scope="module")
def shared_guest(equipment: Equipment) -> Iterator[Machine]:
    with Machine(Settings(vfs=2, **equipment)) as machine:
        yield machine


@pytest.fixture
def guest(shared_guest: Machine) -> Iterator[Machine]:
    """A guest with two VFs that work; afterwards they work again."""
    yield shared_guest
    bench = Bench(shared_guest)
    bench.restore()
    for vf in VFS:
        bench.works(vf)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What never comes is not waited for as long as in a kernel's CI."""
    monkeypatch.setattr(driver, "WAIT_MS", 300)
    monkeypatch.setattr(benches, "HELD_SECONDS", 1.0)
    monkeypatch.setattr(held, "_SECONDS", 0.2)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes at once may take as long as a busy machine takes for it."""
    monkeypatch.setattr(failing, "SLOW_MS", PATIENCE_MS)
    monkeypatch.setattr(failing, "LOST_MS", PATIENCE_MS)
    monkeypatch.setattr(benches, "HELD_PACKET_MS", PATIENCE_MS)


@pytest.mark.parametrize(
    ("check", "fault", "sentence"),
    [
        (driver.model, "context-error", "ended with completion word"),
        (driver.wait, "lost-interrupt:on=vf,vector=1", "returned only when its time was over"),
        (driver.contexts, "context-error", "ended with completion word"),
        (driver.wait_timeout, "stale-queue:read=1,write=1", "packet 0, which nobody submitted, ended with ok, not ETIME"),
    ],
)
def test_a_broken_device_fails_a_check(guest: Machine, impatient: None, check: Check, fault: str, sentence: str) -> None:
    bench = Bench(guest, ONCE)
    bench.inject(fault)
    with pytest.raises(CheckFailed, match=sentence):
        check(bench)


@pytest.mark.parametrize(
    ("check", "sentence"),
    [
        (failing.context_error, "does not print 'packet 1 ended with completion word 0x35'"),
        (failing.lost_interrupt, "WAIT_CMD returned before its time was over"),
        (failing.silent_mailbox, "does not print 'CREATE_HWCTX: Timer expired'"),
        (failing.slow_firmware, "before firmware had answered"),
        (failing.tampered_firmware, "the driver bound with a tampered npu image"),
        (failing.reset_under_load, "after the function's reset, packets still run or wait on 0000:00:05.1"),
        (failing.surprise_removal, "after the function's removal, packets still run or wait on 0000:00:05.1"),
    ],
)
def test_a_fault_that_goes_unnoticed_fails_its_check(
    guest: Machine, impatient: None, patient: None, check: Check, sentence: str
) -> None:
    with pytest.raises(CheckFailed, match=sentence):
        check(Unharmed(guest, ONCE))


def test_a_wait_without_end_fails_its_check(guest: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux 7.2 sleeps in the condition that it waits for (get_read_index), so its time never passes."""
    monkeypatch.setattr(driver, "ENDLESS_SECONDS", 1.0)
    bench = Bench(guest)
    bench.inject("stale-queue")
    with pytest.raises(CheckFailed, match="packet 0, which nobody submitted, did not end in 1 s: its time was 50 ms"):
        driver.wait_timeout(bench)


@pytest.mark.parametrize(("kind", "check"), [(Unloaded, failing.reset_under_load), (Bench, failing.surprise_removal)])
def test_a_function_that_can_not_be_bound_again_fails_its_check(guest: Machine, kind: type[Bench], check: Check) -> None:
    bench = kind(guest)
    bench.inject(f"message-refused:on=vf,opcode={TILE_INFO:#x}")
    with pytest.raises(CheckFailed, match=r"0000:00:05\.1 > .*/bind' ended with status 1: sh: write error: Invalid argument"):
        check(bench)


def test_firmware_that_gives_what_it_has_not_fails_the_refusals(guest: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contexts, "TILES_PER_COLUMN", 4000)
    with pytest.raises(CheckFailed, match=r"^0000:00:05.1: CREATE_HWCTX of 4000 tiles: ok, not EINVAL\n"):
        driver.refusals(Bench(guest))


def test_vfs_that_are_missing_fail_what_asks_for_them(guest: Machine) -> None:
    bench = Bench(guest)
    bench.set_vfs(0)
    with pytest.raises(CheckFailed, match=r"nodes are \['0000:00:05.0 2'\], not"):
        driver.probe(bench)
    with pytest.raises(CheckFailed, match=r"^2 calls were made, not 40\n"):
        driver.refusals(bench)


def test_a_vf_without_a_driver_fails_the_cycles(guest: Machine) -> None:
    """Linux creates it all the same: sriov_numvfs says nothing of its VFs' probes."""
    bench = Bench(guest, ONCE)
    bench.inject(f"message-refused:on=vf,opcode={TILE_INFO:#x}")
    with pytest.raises(CheckFailed, match=r"nodes are \['0000:00:05.0 2'\], not \['0000:00:05.0 2', '0000:00:05.1 1'"):
        driver.vf_cycles(bench)


def test_vfs_that_do_not_compute_any_more_fail_the_cycles(guest: Machine) -> None:
    with pytest.raises(CheckFailed, match=r"contexts 1' ended with status 1: .* packet 0 ended with completion word 0x35"):
        driver.vf_cycles(Spoiled(guest, ONCE))


def test_vfs_that_stay_fail_the_cycles(guest: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a driver that takes 0 and does nothing: Linux then takes the number that there is already for done."""
    monkeypatch.setattr(Bench, "set_vfs", lambda _bench, _count: None)
    with pytest.raises(CheckFailed, match=r"nodes are \['0000:00:05.0 2', .*\], not \['0000:00:05.0 2'\]"):
        driver.vf_cycles(Bench(guest, ONCE))


def test_a_device_that_keeps_something_of_each_vf_fails_the_cycles(guest: Machine, impatient: None) -> None:
    bench, kept = Bench(guest, ONCE), list[int]()
    unwatch = bench.die.watch_vfs(lambda count: kept.append(os.open("/dev/null", os.O_RDONLY)) if count else None)
    try:
        with pytest.raises(CheckFailed, match=r"\d+ descriptors, \d+ threads and \d+ mappings are held, \d+, \d+ and \d+ were"):
            driver.vf_cycles(bench)
    finally:
        unwatch()
        for descriptor in kept:
            os.close(descriptor)
    assert len(kept) == 1


def test_a_driver_that_loads_no_firmware_fails_the_reload(guest: Machine) -> None:
    bench = Bench(guest)
    bench.inject("firmware-tampered")
    with pytest.raises(CheckFailed, match="sriov_numvfs' ended with status"):
        driver.unload_and_load(bench)
    bench.inject()
    bench.do("modprobe -r amdxdna; modprobe amdxdna")
    bench.set_vfs(2)


def test_a_function_that_does_not_come_back_fails_the_reboots(equipment: Equipment, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first boot's CREATE_VFS is answered, the next one's is refused."""
    monkeypatch.setattr(boots, "QUICK_BOOTS", 2)
    fault = Fault.parse(f"message-refused:opcode={CREATE_VFS:#x},after=1")
    case = boots.reboots(Settings(vfs=2, faults=[fault], **equipment), lambda _text: None, quick=True)
    assert case.failure == "boot 2: 2 VFs can't be created"
    assert any("amdxdna" in line for line in case.evidence)


def test_what_is_left_of_a_guest_fails_the_reboots(equipment: Equipment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boots, "QUICK_BOOTS", 1)
    monkeypatch.setattr(Slot, "dma_unmap_all", lambda _slot: None)
    case = boots.reboots(Settings(vfs=2, **equipment), lambda _text: None, quick=True)
    assert "after boot 1, the last of its QEMU: after the guest's end there are" in case.failure
