"""What this machine offers for each way to an NPU, and what to do about what is missing."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PYTHON: Final = (3, 11)
_QEMU: Final = (10, 1)
"""The first with vfio-user-pci."""
_PROBES: Final = {
    "private /dev and /sys": "from fauxdna.host import _sandbox, sysfs; _sandbox.enter(); _sandbox.furnish(1, sysfs.Tree(''))",
    "seccomp notification": "from fauxdna.host._filter import install_filter; install_filter()",
}
_SAYS: Final = """
import json
from fauxdna.errors import FauxdnaError
try:
    {probe}
except FauxdnaError as error:
    print(json.dumps([error.problem, error.remedy]))
except OSError as error:
    print(json.dumps([str(error), "look at the machine's security settings"]))
else:
    print("[]")
"""
_LIBRARIES: Final = {"libxrt_coreutil.so.2": "libxrt2", "libxrt_driver_xdna.so.2": "libxrt-npu2"}
_XRT_REMEDY: Final = "run programs in Debian 13, which is fetched: fauxdna exec --root trixie; or install it (trixie-backports)"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    door: str
    """Which way to an NPU it belongs to."""
    name: str
    ok: bool
    found: str
    remedy: str = ""
    required: bool = False
    """Whether its door is closed without it."""


def examine() -> list[Check]:
    """Looks at everything; takes a few tenths of a second and changes nothing."""
    return [*_package(), *_exec(), *_xrt(), *_guests()]


def _package() -> Iterator[Check]:
    version = sys.version_info
    yield Check("fauxdna", "Python", version >= _PYTHON, platform.python_version(), "install Python 3.11 or later", required=True)
    try:
        from fauxdna import _core

        path = str(_core.__file__)
    except ImportError as error:
        yield Check("fauxdna", "core", False, str(error), "build it: ./dev setup, or install the wheel", required=True)
    else:
        yield Check("fauxdna", "core", True, path, required=True)


def _exec() -> Iterator[Check]:
    machine = os.uname().machine
    yield Check("exec", "processor", machine == "x86_64", machine, "use an x86-64 machine", required=True)
    for name, probe in _PROBES.items():
        said = _said(probe)
        yield Check("exec", name, not said, said[0] if said else "works", said[1] if said else "", required=True)
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    enough = hard == resource.RLIM_INFINITY or hard >= 256 << 20
    yield Check(
        "exec",
        "locked memory",
        enough,
        "unlimited" if hard == resource.RLIM_INFINITY else f"{hard >> 10} KiB",
        "XRT locks all buffers; as root: echo '* - memlock unlimited' > /etc/security/limits.d/npu.conf, and log in again",
    )


def _xrt() -> Iterator[Check]:
    try:
        cache = Path("/etc/ld.so.cache").read_bytes()
    except OSError:
        cache = b""
    for library, package in _LIBRARIES.items():
        there = library.encode() + b"\0" in cache
        yield Check("XRT", package, there, library if there else "not here", _XRT_REMEDY)
    for tool in ("xrt-smi", "aiebu-asm"):
        path = shutil.which(tool)
        yield Check("XRT", tool, path is not None, path or "not here", _XRT_REMEDY)
    root = trixie_root()
    there = (root / "usr/bin/xrt-smi").exists()
    yield Check(
        "XRT",
        "trixie root",
        there,
        str(root) if there else "not here",
        "for C++ programs and system tests; as root, with network: ./dev root",
    )


def _guests() -> Iterator[Check]:
    qemu = shutil.which("qemu-system-x86_64")
    version = _version([qemu, "--version"]) if qemu else ()
    found = f"{qemu} {'.'.join(map(str, version))}" if qemu else "not here"
    remedy = "fauxdna vm fetches its own from Debian; it needs apt-get and network the first time"
    yield Check("vm", "QEMU 10.1 or later", version >= _QEMU, found, remedy)
    yield Check(
        "vm", "apt-get, dpkg-deb", bool(shutil.which("apt-get") and shutil.which("dpkg-deb")), "", "use a Debian or Ubuntu"
    )
    kvm = os.access("/dev/kvm", os.R_OK | os.W_OK)
    yield Check("vm", "KVM", kvm, "/dev/kvm" if kvm else "not usable", "guests run without it, more slowly; join the group kvm")


def trixie_root() -> Path:
    """Where ``./dev root`` puts its Debian root."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("FAUXDNA_TRIXIE_ROOT") or cache / "fauxdna" / "trixie")


def _said(probe: str) -> list[str]:
    """Problem and remedy of a probe in a process of its own; nothing if it works."""
    command = [sys.executable, "-P", "-c", _SAYS.format(probe=probe)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    try:
        said: list[str] = json.loads(done.stdout)
    except ValueError:
        return [done.stderr.strip().rpartition("\n")[2] or f"ended with {done.returncode}", "report this"]
    return said


def _version(command: list[str]) -> tuple[int, ...]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    words = (word for word in done.stdout.split() if word[0].isdigit())
    return tuple(int(part) for part in next(words, "").split(".") if part.isdecimal())
