"""Programs under ``fauxdna exec``, as root and as an ordinary user."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fauxdna

NOBODY = 65534
PACKAGES = os.pathsep.join(
    [str(Path(fauxdna.__file__).parent.parent), *(path for path in sys.path if path.endswith("site-packages"))]
)


@dataclass(frozen=True)
class Runner:
    """Runs ``fauxdna exec`` as some user.

    Programs get what the test's own environment has, but for what Python needs to find the package.
    """

    python: str
    prefix: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, *arguments: str) -> list[str]:
        """A ``fauxdna`` command line."""
        return [*self.prefix, self.python, "-m", "fauxdna", *arguments]

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """``fauxdna exec ARGUMENTS``; ``options`` are :func:`subprocess.run`'s."""
        return self._run(self.command("exec", "--quiet", *arguments), options)

    def native(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """The program itself, for comparison."""
        return self._run([*self.prefix, *command], options)

    def _run(self, command: list[str], options: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        usual: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 60, "check": False, "env": self.environment}
        done: subprocess.CompletedProcess[str] = subprocess.run(command, **(usual | options))
        return done


def as_root() -> Runner | str:
    """A runner that stays who the test is, if that is root."""
    if os.geteuid() != 0:
        return "needs root"
    return Runner(sys.executable, (), _environment())


def as_user() -> Runner | str:
    """A runner for an ordinary user: the test's own, or for root, nobody."""
    if os.geteuid() != 0:
        return Runner(sys.executable, (), _environment())
    prefix = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    for python in (sys.executable, "/usr/bin/python3"):
        runner = Runner(python, prefix, _environment())
        probe = [*prefix, "env", python, "-c", "import fauxdna._core, cryptography"]
        if subprocess.run(probe, capture_output=True, check=False, env=runner.environment).returncode == 0:
            return runner
    return "no Python that an ordinary user may use has this package's dependencies"


def _environment() -> dict[str, str]:
    return {
        "PYTHONPATH": PACKAGES,
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": "/tmp",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
