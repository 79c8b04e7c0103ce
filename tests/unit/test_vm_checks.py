"""The report of a driver's checks, and how a check's end is judged; the guests are in tests/system/guest."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import cast

import pytest

from fauxdna.vm.checks import Case, Report, suite
from fauxdna.vm.checks.bench import Bench, CheckFailed

ERROR = "[    8.9] amdxdna 0000:00:05.1: [drm] *ERROR* aie4_hwctx_create: create ctx failed: -62"
TRACE = "[    9.1] WARNING: CPU: 0 PID: 77 at drivers/accel/amdxdna/amdxdna_gem.c:1320"
"""As Linux 7.2 prints a WARN, by ``__warn`` of kernel/panic.c."""


class FakeBench:
    """A guest whose log is given."""

    def __init__(self, *log: str) -> None:
        self._log = log
        self.healed = 0

    def inject(self) -> None:
        self.healed += 1

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
    assert (case.name, case.failure, case.evidence, bench.healed) == ("broken", "nodes are []\nmore", [ERROR], 1)


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
