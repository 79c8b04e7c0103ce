"""User spaces for a guest: Debian trixie with XRT and what ``fauxdna`` itself needs, unpacked by an ordinary user."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

from fauxdna.cache import cache_folder, made_once
from fauxdna.errors import NotFound

from .command import Share
from .packages import WAITING, Packages, Progress

TRIXIE: Final = "trixie"
_PACKAGES: Final = (
    # What a shell script expects of a Debian system.
    *(
        "base-files",
        "base-passwd",
        "bash",
        "coreutils",
        "dash",
        "diffutils",
        "findutils",
        "grep",
        "gzip",
        "hostname",
        "kmod",
        "mawk",
    ),
    *("pciutils", "procps", "sed", "tar", "util-linux", "mount"),
    # XRT 2.25 with its NPU plug-in.
    *("libxrt-utils", "libxrt-utils-npu", "libxrt-npu2", "python3-xrt"),
    # What fauxdna imports to run a program on a node.
    *("python3", "python3-numpy", "python3-cryptography", "python3-typer", "python3-rich", "python3-pyelftools"),
)
_ALTERNATIVES: Final = {
    "usr/bin/awk": "mawk",
    "usr/lib/x86_64-linux-gnu/libblas.so.3": "blas/libblas.so.3",
    "usr/lib/x86_64-linux-gnu/liblapack.so.3": "lapack/liblapack.so.3",
}
"""Links that update-alternatives makes."""
_DIST_PACKAGES: Final = "/usr/lib/python3/dist-packages"
_SCRIPT: Final = b"#!/usr/bin/python3\nfrom fauxdna.cli import main\n\nmain()\n"


def guest_root(name: str, progress: Progress) -> Path:
    """``trixie``, fetched once, or a folder with a user space."""
    if name != TRIXIE:
        folder = Path(name)
        if not (folder / "bin" / "sh").exists() and not (folder / "bin" / "sh").is_symlink():
            raise NotFound(f"{folder} is no user space: it has no /bin/sh", f"name another folder, or '{TRIXIE}'")
        return folder.resolve()
    return made_once(cache_folder() / "vm" / TRIXIE, lambda part: _fetch(part, progress), lambda: progress(WAITING))


def own_package() -> tuple[Share, dict[str, bytes]]:
    """What brings this very package into a guest with Python: a share of its folder, and the ``fauxdna`` command."""
    folder = Path(str(files("fauxdna")))
    return Share(folder, f"{_DIST_PACKAGES}/fauxdna", read_only=True), {"fauxdna": _SCRIPT}


def _fetch(part: Path, progress: Progress) -> None:
    packages = Packages(progress)
    packages.update()
    packages.install(_PACKAGES, part, dependencies=True)
    # What the packages' own scripts would have made.
    for name in ("passwd", "group"):
        (part / "etc" / name).write_bytes((part / "usr/share/base-passwd" / f"{name}.master").read_bytes())
    for link, target in _ALTERNATIVES.items():
        if (part / link).parent.joinpath(target).exists() and not (part / link).is_symlink():
            (part / link).symlink_to(target)
    for folder in ("proc", "sys", "dev", "run", "tmp", "root", "mnt"):
        (part / folder).mkdir(exist_ok=True)
