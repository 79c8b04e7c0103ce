"""The report of a driver's checks, and how a check's end is judged; the guests are in tests/system/guest."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

import fauxdna.vm.checks.reboots as boots
from fauxdna.vm import GuestTimeout, Settings
from fauxdna.vm.agent import Boot, Completed
from fauxdna.vm.checks import Case, Report, driver, held, suite
from fauxdna.vm.checks.bench import Bench, CheckFailed

ERROR = "[    8.9] amdxdna 0000:00:05.1: [drm] *ERROR* aie4_hwctx_create: create ctx failed: -62"
TRACE = "[    9.1] WARNING: CPU: 0 PID: 77 at drivers/accel/amdxdna/amdxdna_gem.c:1320"
"""As Linux 7.2 prints a WARN, by ``__warn`` of kernel/panic.c."""


class FakeBench:
    """A guest whose log is given."""

    def __init__(self, *log: str) -> None:
        self._log = log
        self.healed = 0
        self.restored = 0

    def inject(self) -> None:
        self.healed += 1

    def restore(self) -> None:
        self.restored += 1

    def next_log(self) -> list[str]:
        return list(self._log)


def judged(check: suite.Check, bench: FakeBench, monkeypatch: pytest.MonkeyPatch, *, good: bool) -> Case:
    monkeypatch.setattr(suite, "ON_GOOD_DEVICE", (check,) if good else ())
    case = Case("broken")
    suite._run(check, cast("Bench", bench), case)
    return case


def fine(bench: Bench) -> dict[str, float]:
    return {"ms": 1.5}


def broken(bench: Bench) -> None:
    raise CheckFailed("nodes are []\nmore")


def test_a_check_that_fails_keeps_its_reason_and_faults_end(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = FakeBench(ERROR)
    case = judged(broken, bench, monkeypatch, good=True)
    assert (case.name, case.failure, case.evidence) == ("broken", "nodes are []\nmore", [ERROR])
    assert (bench.healed, bench.restored) == (1, 1)


def test_a_guest_that_can_not_be_brought_back_keeps_the_reason_and_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging:
        """A guest that takes commands, but hangs when packets of a check that failed are to be ended."""

        def __init__(self, *_: object, **__: object) -> None:
            server = SimpleNamespace(plug=lambda _: None)
            self.devices = SimpleNamespace(die=SimpleNamespace(inject=lambda *_: None), server=server)
            self.close = lambda: None

        def boot(self) -> Boot:
            return Boot()

        def run(self, script: str, timeout: float) -> Completed:
            if "kill" in script:
                raise GuestTimeout(f"after {timeout:g} s the guest still runs {script}", "", log="[ 9.0] stuck")
            return Completed(0, "7.2.12\n", "")

    monkeypatch.setattr(suite, "Machine", Hanging)
    monkeypatch.setattr(suite, "ON_GOOD_DEVICE", (fine, broken, fine))
    report = suite.run_checks(Settings(), lambda _text: None)
    assert [case.name for case in report.cases] == ["boot", "fine", "broken"]
    (failed,) = report.failures
    assert failed.failure.startswith("nodes are []\nmore\nafter 120 s the guest still runs kill")
    assert failed.failure.endswith("[ 9.0] stuck")


@pytest.mark.parametrize(
    ("line", "good", "fails"),
    [
        ("[ 1.0] [drm] Initialized amdxdna_accel_driver", True, False),
        (ERROR, True, True),
        (ERROR, False, False),
        (TRACE, False, True),
        ("[ 9.2] DMAR: [DMA Write NO_PASID] Request device [00:05.1] fault addr 0x1000", False, True),
        ("[ 9.3] INFO: task fauxdna-probe:77 blocked for more than 122 seconds.", False, True),
    ],
)
def test_the_log_is_judged(line: str, good: bool, fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    case = judged(fine, FakeBench("[ 0.5] unrelated", line), monkeypatch, good=good)
    assert bool(case.failure) is fails
    assert case.evidence == [line]
    assert case.figures == {"ms": 1.5}


def test_a_complaint_comes_with_what_follows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # As lockdep prints it: one line says what, the others why.
    splat = ["[ 2.0] WARNING: possible recursive locking detected", "[ 2.0] init/1 is trying to acquire lock:", "[ 2.0] more"]
    case = judged(fine, FakeBench("[ 1.0] before", *splat), monkeypatch, good=False)
    first = "the kernel's log has complaints: WARNING: possible recursive locking detected"
    assert case.failure.splitlines() == [first, *splat]


@pytest.mark.parametrize(
    ("status", "text", "wrong"),
    [
        # What a guest of Linux 7.2.12 printed.
        (0, "ETIME after 51.9 ms\n", ""),
        (0, "ok after 0.0 ms\n", "ended with ok, not ETIME"),
        # timeout(1) of its busybox, which ended the probe.
        (143, "", "did not end in 20 s: its time was 50 ms"),
        (0, "ETIME after 0.1 ms\n", "ended after 0.1 ms: its time was 50 ms"),
        (1, "", "could not be asked for: status 1"),
    ],
)
def test_a_wait_in_vain_is_judged(status: int, text: str, wrong: str) -> None:
    sentence = f"WAIT_CMD of packet 7, which nobody submitted, {wrong}" if wrong else ""
    assert driver.wrong_wait(status, text, 7) == sentence


def test_refusals_are_judged() -> None:
    # The form of what a guest of Linux 7.2.12 printed: two calls on the PF, 19 on each VF.
    nodes = [("0000:00:05.0", 2), ("0000:00:05.1", 19), ("0000:00:05.2", 19)]
    lines = [line for bdf, calls in nodes for line in (f"{bdf} /dev/accel/accel0", *["CREATE_BO with flags: EINVAL"] * calls)]
    assert driver.wrong_refusals("\n".join(lines)) == ""
    assert driver.wrong_refusals("\n".join(lines[:-1])) == "39 calls were made, not 40"
    lines[5] = "CREATE_HWCTX of 0 tiles: ok, not EINVAL"
    lines[-1] = "SET_STATE: EINVAL, not EOPNOTSUPP"
    assert driver.wrong_refusals("\n".join(lines)).splitlines() == [
        "0000:00:05.1: CREATE_HWCTX of 0 tiles: ok, not EINVAL",
        "0000:00:05.2: SET_STATE: EINVAL, not EOPNOTSUPP",
    ]


class FakeMachine:
    """A guest that boots in no time and leaves what ``each_boot`` leaves."""

    def __init__(self, each_boot: Callable[[], object], problems: list[str]) -> None:
        self.each_boot = each_boot
        self.booted = Boot(problems=problems)

    def __enter__(self) -> FakeMachine:
        self.each_boot()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def reboot(self) -> None:
        self.each_boot()

    def kill(self) -> None:
        """As often as one likes."""


class FakeGuest:
    """Its bench."""

    def __init__(self, log: list[str]) -> None:
        self.log = lambda: log
        self.works = self.let_go = lambda *_: None


@pytest.fixture
def rebooted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Case]:
    """Runs the check of reboots on guests that are not there, but for what they leave, say and print."""

    def run(each_boot: Callable[[], object] = lambda: None, problems: tuple[str, ...] = (), log: tuple[str, ...] = ()) -> Case:
        monkeypatch.setattr(boots, "Devices", lambda *_: nullcontext())
        monkeypatch.setattr(boots, "Machine", lambda *_, **__: FakeMachine(each_boot, list(problems)))
        monkeypatch.setattr(boots, "Bench", lambda _machine: FakeGuest(list(log)))
        return boots.reboots(Settings(), lambda _text: None)

    return run


def test_reboots_that_leave_nothing_are_fine(rebooted: Callable[..., Case]) -> None:
    # 20 boots, docs/kernel-ci.md. A complaint from before the driver's first line is not the driver's.
    case = rebooted(log=("[ 0.1] WARNING: of a board", "[ 1.0] amdxdna 0000:00:05.0: fine"))
    assert (case.failure, case.figures["boots"]) == ("", 20)
    assert case.evidence.count("[ 1.0] amdxdna 0000:00:05.0: fine") == 20


def test_boots_that_leave_more_and_more_fail_the_reboots(rebooted: Callable[..., Case], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "_SECONDS", 0.0)
    with ExitStack() as kept:
        case = rebooted(lambda: [kept.enter_context(open("/dev/null")) for _ in range(100)])
    found = re.fullmatch(r"boot 2: (\d+) descriptors, \d+ threads and \d+ mappings are held, (\d+), .* before", case.failure)
    assert found
    assert int(found[1]) > int(found[2])


def test_what_a_boot_says_fails_the_reboots(rebooted: Callable[..., Case]) -> None:
    assert rebooted(problems=("2 VFs can't be created",)).failure == "boot 1: 2 VFs can't be created"
    for line in (ERROR, TRACE):
        case = rebooted(log=("[ 1.0] amdxdna loads", line))
        assert case.failure.startswith("boot 1: the kernel's log has complaints: " + line.partition("] ")[2])


def test_the_report_is_junit_that_parsers_take(tmp_path: Path) -> None:
    report = Report("7.2.12", [Case("probe", 0.25), Case("wait", 1.5, "late <by> a second\nmore\x1b", [ERROR], {"us": 2.25})])
    report.write(tmp_path / "junit.xml")
    root = ET.parse(tmp_path / "junit.xml").getroot()
    (group,) = root
    # The attributes that Jenkins' and GitLab's readers of JUnit files ask for.
    assert (root.tag, group.tag, group.get("tests"), group.get("failures")) == ("testsuites", "testsuite", "2", "1")
    assert (group.get("name"), group.get("time")) == ("amdxdna on 7.2.12", "1.750")
    first, second = group
    assert (first.get("name"), list(first)) == ("probe", [])
    failure, output = second
    assert (failure.tag, failure.get("message"), failure.text) == ("failure", "late <by> a second", "late <by> a second\nmore?")
    assert output.text == f"us = 2.25\n{ERROR}"
    assert [case.name for case in report.failures] == ["wait"]
