"""Built-in checks of a guest's driver, for a kernel's CI: cases of a JUnit report, with the driver's own log as evidence."""

from .report import Case, Report
from .suite import run_checks

__all__ = ["Case", "Report", "run_checks"]
