"""The built-in checks can fail: each does, with a sentence, where the device is broken, or where a fault goes unnoticed."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from fauxdna.vm import Machine, Settings
from fauxdna.vm.checks import driver, failing
from fauxdna.vm.checks.bench import Bench, CheckFailed
from fauxdna.vm.checks.suite import Check

Equipment = dict[str, dict[str, bytes]]


class Unharmed(Bench):
    """A guest whose device fails never, as if its driver took no notice of faults."""

    def inject(self, *faults: str) -> None:
        """Does nothing."""


@pytest.fixture(scope="module")
def guest(equipment: Equipment) -> Iterator[Machine]:
    with Machine(Settings(vfs=2, **equipment)) as machine:
        yield machine


@pytest.mark.parametrize(
    ("check", "fault", "sentence"),
    [
        (driver.model, "context-error", "ended with completion word"),
        (driver.wait, "lost-interrupt:on=vf,vector=1", "returned only when its time was over"),
        (driver.contexts, "context-error", "ended with completion word"),
    ],
)
def test_a_broken_device_fails_a_check_of_a_good_one(guest: Machine, check: Check, fault: str, sentence: str) -> None:
    bench = Bench(guest, 10)
    bench.inject(fault)
    with pytest.raises(CheckFailed, match=sentence):
        check(bench)
    bench.inject()
    check(bench)


def test_a_missing_vf_fails_the_probe(guest: Machine) -> None:
    bench = Bench(guest)
    bench.set_vfs(0)
    with pytest.raises(CheckFailed, match=r"nodes are \['0000:00:05.0 2'\], not"):
        driver.probe(bench)
    bench.set_vfs(2)
    driver.probe(bench)


@pytest.mark.parametrize(
    ("check", "sentence"),
    [
        (failing.context_error, "does not print 'packet 1 ended with completion word 0x35'"),
        (failing.lost_interrupt, "WAIT_CMD returned before its time was over"),
        (failing.silent_mailbox, "does not print 'CREATE_HWCTX: Timer expired'"),
        (failing.slow_firmware, "before firmware had answered"),
        (failing.tampered_firmware, "the driver bound with a tampered npu image"),
    ],
)
def test_a_fault_that_goes_unnoticed_fails_its_check(
    guest: Machine, check: Check, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By this clock a device answers at once, on however busy a machine.
    monkeypatch.setattr(failing, "time", SimpleNamespace(monotonic=lambda: 0.0))
    bench = Unharmed(guest, 10)
    with pytest.raises(CheckFailed, match=sentence):
        check(bench)
    if not bench.do("ls /sys/bus/pci/drivers/amdxdna").count("05.1"):
        bench.set_vfs(2)
    bench.works()


def test_a_driver_that_loads_no_firmware_fails_the_reload(guest: Machine) -> None:
    bench = Bench(guest)
    bench.inject("firmware-tampered")
    with pytest.raises(CheckFailed, match="sriov_numvfs' ended with status"):
        driver.unload_and_load(bench)
    bench.inject()
    bench.do("modprobe -r amdxdna; modprobe amdxdna")
    bench.set_vfs(2)
    bench.works()
