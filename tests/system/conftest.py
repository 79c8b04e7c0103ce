"""What system tests need from outside this repository, found once."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class TrixieRoot:
    """A Debian trixie root with stock aiebu-asm and aiebu-dump (``./dev root``)."""

    path: Path

    def run(self, *command: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Runs ``command`` in the root with a copy of ``folder`` as working directory; new files are copied back."""
        with tempfile.TemporaryDirectory(dir=self.path / "tmp") as inside:
            shutil.copytree(folder, inside, dirs_exist_ok=True)
            shell = 'cd "$0" && exec "$@"'
            done = subprocess.run(
                ["chroot", str(self.path), "sh", "-c", shell, "/" + str(Path(inside).relative_to(self.path)), *command],
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            shutil.copytree(inside, folder, dirs_exist_ok=True)
        return done


@pytest.fixture(scope="session")
def trixie_root() -> TrixieRoot:
    """The root; skips where there is none, or nobody may enter it."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fauxdna" / "trixie"
    path = Path(os.environ.get("FAUXDNA_TRIXIE_ROOT") or default)
    if not (path / "usr/bin/aiebu-asm").exists():
        pytest.skip(f"no trixie root at {path}; make it with ./dev root (needs root and network)")
    if os.geteuid() != 0:
        pytest.skip("entering the trixie root needs root")
    return TrixieRoot(path)
