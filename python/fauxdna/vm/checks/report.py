"""What checks found, and the JUnit file that says so."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_NOT_XML: Final = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd]")


@dataclass
class Case:
    """One check: ``failure`` is what was wrong, or empty; ``evidence`` the kernel's log lines that came meanwhile."""

    name: str
    seconds: float = 0.0
    failure: str = ""
    evidence: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)


@dataclass
class Report:
    """All checks of one kernel."""

    kernel: str
    cases: list[Case] = field(default_factory=list)

    @property
    def failures(self) -> list[Case]:
        """The checks that failed."""
        return [case for case in self.cases if case.failure]

    def write(self, path: Path) -> None:
        """Writes the JUnit file."""
        total = {"tests": str(len(self.cases)), "failures": str(len(self.failures)), "errors": "0", "skipped": "0"}
        seconds = f"{sum(case.seconds for case in self.cases):.3f}"
        suites = ET.Element("testsuites", total | {"time": seconds})
        suite = ET.SubElement(suites, "testsuite", {"name": f"amdxdna on {self.kernel}", **total, "time": seconds})
        for case in self.cases:
            element = ET.SubElement(
                suite, "testcase", {"classname": "fauxdna.vm", "name": case.name, "time": f"{case.seconds:.3f}"}
            )
            if case.failure:
                ET.SubElement(element, "failure", {"message": _clean(case.failure.splitlines()[0])}).text = _clean(case.failure)
            figures = [f"{name} = {value:g}" for name, value in case.figures.items()]
            if case.evidence or figures:
                ET.SubElement(element, "system-out").text = _clean("\n".join([*figures, *case.evidence]))
        ET.ElementTree(suites).write(path, encoding="utf-8", xml_declaration=True)


def _clean(text: str) -> str:
    """``text`` without characters that XML has not."""
    return _NOT_XML.sub("?", text)
