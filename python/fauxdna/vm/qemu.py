"""Which QEMU runs the guest: the machine's own if it can attach a vfio-user device, or Debian's in a folder of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fauxdna.cache import cache_folder, made_once
from fauxdna.errors import NotFound

from .packages import WAITING, Packages, Progress, damaged

PROGRAM: Final = "qemu-system-x86_64"
NEEDED: Final = (10, 1)
"""The first QEMU with ``vfio-user-pci``."""
_SANDBOX: Final = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
_LIBRARIES: Final = "usr/lib/x86_64-linux-gnu"
_PACKAGES: Final = ("qemu-system-x86", "seabios")


@dataclass(frozen=True)
class Qemu:
    """How QEMU is started: a command's first words, and what its environment needs."""

    command: tuple[str, ...]
    version: tuple[int, ...]
    environment: dict[str, str] = field(default_factory=dict)

    confined: bool = False
    """Whether it is known to have seccomp, so that it can be kept from starting programs and changing its rights."""

    def options(self) -> tuple[str, ...]:
        """What every guest is started with: QEMU ends when this process does, however that ends (since 10.2), and is confined."""
        ending = ("-run-with", "exit-with-parent=on") if self.version >= (10, 2) else ()
        return (*ending, *(("-sandbox", _SANDBOX) if self.confined else ()))


def find_qemu(progress: Progress) -> Qemu:
    """``$FAUXDNA_QEMU``, else the machine's own QEMU from 10.1 on, else Debian's, fetched once."""
    named = os.environ.get("FAUXDNA_QEMU")
    if named:
        version = _version((named,), {})
        if version < NEEDED:
            raise NotFound(f"FAUXDNA_QEMU={named} is no QEMU from {'.'.join(map(str, NEEDED))} on", "name another, or unset it")
        return Qemu((named,), version)
    own = shutil.which(PROGRAM)
    if own is not None:
        version = _version((own,), {})
        if version >= NEEDED:
            return Qemu((own,), version)
    return _fetched(progress)


def _fetched(progress: Progress) -> Qemu:
    root = made_once(cache_folder() / "vm" / "qemu", lambda part: _fetch(part, progress), lambda: progress(WAITING))
    libraries = root / _LIBRARIES
    # The folder's own loader: the machine's C library may be older than QEMU needs.
    loaders = [root / folder / "ld-linux-x86-64.so.2" for folder in ("usr/lib64", "lib64")]
    loader = next((path for path in loaders if path.exists()), loaders[0])
    command = (
        str(loader),
        "--library-path",
        str(libraries),
        str(root / "usr/bin" / PROGRAM),
        *("-L", str(root / "usr/share/qemu")),
        *("-L", str(root / "usr/share/seabios")),
    )
    environment = {"QEMU_MODULE_DIR": str(libraries / "qemu")}
    version = _version(command, environment)
    if version < NEEDED:
        raise damaged(root, f"no QEMU from {'.'.join(map(str, NEEDED))} on runs there")
    return Qemu(command, version, environment, confined=True)


def _fetch(part: Path, progress: Progress) -> None:
    packages = Packages(progress)
    packages.update()
    packages.install(_PACKAGES, part, dependencies=True)


def _version(command: tuple[str, ...], environment: dict[str, str]) -> tuple[int, ...]:
    try:
        text = subprocess.run(
            [*command, "--version"], env={**os.environ, **environment}, capture_output=True, text=True, check=False
        ).stdout
    except OSError:
        return ()
    found = re.search(r"version (\d+)\.(\d+)\.(\d+)", text)
    return tuple(map(int, found.groups())) if found else ()
